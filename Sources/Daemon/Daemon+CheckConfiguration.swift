// `virtbrokerd --check-config`: whether the daemon would start, and with which settings.
import Broker
@preconcurrency import Glibc
import Streams

extension Daemon {
  /// Prints the settings in effect as a configuration file, and the diagnostics on standard error. The exit status: 0,
  /// or that of the stage at which a start would fail. Binds and opens nothing.
  func checkConfiguration() -> Int32 {
    do throws(StartFailure) {
      let (configuration, diagnostics) = try loadConfiguration()
      let plan = try logPlan(configuration, usual: usualLogDestination())
      for diagnostic in plan.diagnostics + diagnostics {
        switch diagnostic.severity {
        case .debug, .info: say("note: \(diagnostic.message.line)")
        case .warning: say("warning: \(diagnostic.message.line)")
        case .error: break
        }
      }
      if let failure = diagnostics.failure { throw failure }
      _ = try configuration.settings(places: places, idleSeconds: options.timeoutSeconds)
      if let user = configuration.user {
        _ = try ServiceUser(user, place: configuration.places["user"] ?? "user")
      }
      print(configuration.inEffect(places, log: plan), terminator: "")
      return EXIT_SUCCESS
    } catch {
      for message in error.messages { say("error: \(message.line)") }
      return error.stage.rawValue
    }
  }

  private func say(_ text: String) { LogLine.write("\(printable(text))\n", to: STDERR_FILENO) }
}

extension Configuration {
  /// Every key with its value and where the value comes from. A key that is not set has a note on what that means.
  func inEffect(_ places: Places, log: LogPlan) -> String {
    let meanings = meaningsOfUnset(places, log)
    var text = ""
    for key in ConfigurationKey.table {
      let place = self.places[key.name].map { "  # \($0.dropLast(key.name.utf8.count + 2))" }
      if let value = key.value(self) {
        text += "\(key.name) = \(value.written)\(place ?? "")\n"
      } else if key.remark != nil {
        text += "# \(key.name): no effect\(place ?? "")\n"
      } else {
        text += "# \(key.name): not set, \(meanings[key.name] ?? "none")\n"
      }
    }
    return text
  }

  private func meaningsOfUnset(_ places: Places, _ log: LogPlan) -> [String: String] {
    let tls = tlsSettings(places: places)
    func list(_ texts: [String]) -> String {
      ConfigurationValue.list(texts.map { .text($0) }).written
    }
    func authentication(readOnly: Bool) -> String {
      "\"\(unixAuthentication(readOnly: readOnly, places).rawValue)\""
    }
    return [
      "listen_addr": "all addresses of this machine",
      "unix_sock_dir": "\"\(places.runtimeDirectory)\"",
      "unix_sock_group": "the group of the process",
      "unix_sock_rw_perms": "\"\(octal(readWriteMode(places)))\"",
      "auth_unix_rw": authentication(readOnly: false),
      "auth_unix_ro": authentication(readOnly: true),
      "user": "who starts it",
      "tcp_min_ssf": "\(tcpMinSSF)",
      "sasl_allowed_username_list": "all users",
      "tls_allowed_dn_list": "all certificates of the authority",
      "tls_priority": "the built-in choice",
      "key_file": list(tls.pairs.map(\.keyFile)),
      "cert_file": list(tls.pairs.map(\.certificateFile)),
      "ca_file": "\"\(tls.authorityFile)\"",
      "crl_file": tls.revocationFile.map { "\"\($0)\" if it exists" } ?? "none",
      "backend_socket_dir": "\"/run/libvirt\"",
      "backend_session_socket_dir":
        "\"\(places.isRoot ? "/run/libvirt" : places.runtimeDirectory)\"",
      "log_outputs": "\"\(log.outputs.map(\.text).joined(separator: " "))\"",
    ]
  }
}

extension ConfigurationValue {
  /// The value in the file's syntax, which has no escapes: a text is quoted with a mark that it does not contain.
  var written: String {
    switch self {
    case .number(let number): "\(number)"
    case .text(let text):
      if text.contains("\"") || text.contains("\n") {
        text.contains("'") || text.contains("\n") ? "\"\"\"\(text)\"\"\"" : "'\(text)'"
      } else {
        "\"\(text)\""
      }
    case .list(let elements):
      elements.isEmpty ? "[]" : "[ \(elements.map(\.written).joined(separator: ", ")) ]"
    }
  }
}
