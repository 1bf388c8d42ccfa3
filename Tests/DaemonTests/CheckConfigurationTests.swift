// `--check-config`, and virtproxyd's files unchanged.
import Foundation
import Testing

@testable import virtbrokerd

@Suite("configuration check")
struct CheckConfigurationTests {
  private func check(_ path: String, _ more: [String] = []) throws -> Program.Result {
    try Program.run(["--check-config", "-f", path] + more)
  }

  @Test("it prints every setting in effect, as a file with the same meaning")
  func prints() throws {
    let scratch = try Scratch()
    let path = try scratch.configuration(
      """
      max_clients = 77
      sasl_allowed_username_list = [ "a", 'b"c' ]
      unix_sock_rw_perms = "660"
      admin_max_client_requests = 5
      """)
    let result = try check(path)
    #expect(result.status == 0)
    #expect(result.err.contains("warning: VB-CONF-018: \(path):8: admin_max_client_requests: "))
    let lines = result.out.split(separator: "\n").map(String.init)
    #expect(lines.count == ConfigurationKey.all.count)
    #expect(lines.contains("max_clients = 77  # \(path):5"))
    #expect(lines.contains("max_queued_clients = 1000"))
    #expect(lines.contains("unix_sock_rw_perms = \"0660\"  # \(path):7"))
    #expect(lines.contains("sasl_allowed_username_list = [ \"a\", 'b\"c' ]  # \(path):6"))
    #expect(lines.contains("# ca_file: not set, \"/etc/pki/CA/cacert.pem\""))
    #expect(lines.contains("# admin_max_client_requests: no effect  # \(path):8"))
    #expect(lines.contains("log_outputs = \"1:file:\(scratch.path)/log\"  # \(path):3"))

    var (first, _) = try Configuration.load(path, mayBeMissing: false)
    var (second, diagnostics) = try Configuration.load(
      try scratch.write("again.conf", result.out), mayBeMissing: false)
    #expect(diagnostics.isEmpty)
    (first.places, second.places) = ([:], [:])
    #expect(first == second)
    // The check opens and creates nothing.
    #expect(!scratch.exists("log") && !scratch.exists("libvirt-sock"))
  }

  @Test("root's defaults are those of virtproxyd")
  func defaults() throws {
    let scratch = try Scratch()
    let result = try check(try scratch.write("empty.conf", ""))
    #expect(result.status == 0 && result.err == "")
    for line in [
      "listen_tcp = 0", "listen_tls = 0", "tcp_port = \"16509\"", "tls_port = \"16514\"",
      "# unix_sock_rw_perms: not set, \"0777\"", "unix_sock_ro_perms = \"0777\"",
      "# auth_unix_rw: not set, \"polkit\"", "# auth_unix_ro: not set, \"polkit\"",
      "auth_tcp = \"sasl\"", "auth_tls = \"none\"", "# tcp_min_ssf: not set, 56",
      "max_clients = 5000",
      "max_queued_clients = 1000", "max_anonymous_clients = 20", "max_client_requests = 5",
      "keepalive_interval = 5", "keepalive_count = 5", "log_level = 0", "audit_level = 1",
    ] {
      #expect("\n\(result.out)".contains("\n\(line)\n"), "\(line)")
    }
  }

  @Test(
    "an error that would end the start is printed on standard error, with the same exit status",
    arguments: [
      ("listen_tcp = 2", 1, "VB-CONF-005", "listen_tcp: expected 0 or 1"),
      ("max_clients =", 1, "VB-CONF-004", "expected a number"),
      ("max_clients = 1", 3, "VB-CONF-010", "max_anonymous_clients (20)"),
      ("user = \"no such user\"", 5, "VB-USER-002", "user: user 'no such user'"),
      ("unix_sock_group = \"no such group\"", 6, "VB-CONF-009", "'no such group'"),
      ("audit_level = 2", 10, "VB-CONF-013", "audit_level: "),
      ("log_filters = \"rpc\"", 1, "VB-CONF-005", "log_filters: expected filters"),
    ])
  func faults(text: String, status: Int32, identifier: String, words: String) throws {
    let scratch = try Scratch()
    let result = try check(try scratch.write("x.conf", text))
    #expect(result.status == status && result.out == "")
    #expect(
      result.err.hasPrefix("error: \(identifier): \(scratch.path)/x.conf:1"), "\(result.err)")
    #expect(result.err.contains(words))
  }

  @Test("an error in the environment's log settings fails the check, a warning does not")
  func warnings() throws {
    let scratch = try Scratch()
    let path = try scratch.write("x.conf", "max_client = 5")
    let result = try Program.run(
      ["--check-config", "-f", path], environment: ["LIBVIRT_LOG_OUTPUTS": "1:fax"])
    #expect(result.status == 1)
    #expect(result.err.hasPrefix("error: VB-LOG-001: LIBVIRT_LOG_OUTPUTS: "))
    let fine = try check(path)
    #expect(fine.status == 0)
    #expect(fine.err.hasPrefix("warning: VB-CONF-007: \(path):1: max_client: "))
  }

  /// virtproxyd's keys with their defaults, or an example for a key without a default.
  private static let virtproxyd = [
    "listen_tls = 0", "listen_tcp = 1", "tls_port = \"16514\"", "tcp_port = \"0\"",
    "listen_addr = \"127.0.0.1\"", "unix_sock_group = \"0\"", "unix_sock_ro_perms = \"0777\"",
    "unix_sock_rw_perms = \"0770\"", "unix_sock_admin_perms = \"0700\"",
    "unix_sock_dir = \"DIRECTORY\"", "auth_unix_ro = \"polkit\"", "auth_unix_rw = \"polkit\"",
    "auth_tcp = \"sasl\"", "auth_tls = \"none\"", "tcp_min_ssf = 112",
    "access_drivers = [ \"none\" ]",
    "key_file = \"/etc/pki/libvirt/private/serverkey.pem\"",
    "cert_file = \"/etc/pki/libvirt/servercert.pem\"", "ca_file = \"/etc/pki/CA/cacert.pem\"",
    "crl_file = \"/etc/pki/CA/crl.pem\"", "tls_no_sanity_certificate = 1",
    "tls_no_verify_certificate = 1", "tls_allowed_dn_list = [\"DN1\", \"DN2\"]",
    "tls_priority=\"NORMAL\"",
    "sasl_allowed_username_list = [\"joe@EXAMPLE.COM\", \"fred@EXAMPLE.COM\" ]",
    "max_clients = 5000", "max_queued_clients = 1000", "max_anonymous_clients = 20",
    "min_workers = 5", "max_workers = 20", "prio_workers = 5", "max_client_requests = 5",
    "admin_min_workers = 1", "admin_max_workers = 5", "admin_max_clients = 5",
    "admin_max_queued_clients = 5", "admin_max_client_requests = 5", "log_level = 3",
    "log_filters=\"1:qemu 1:libvirt 4:object 4:json 4:event 1:util\"",
    "log_outputs=\"2:file:DIRECTORY/log\"", "audit_level = 1", "audit_logging = 1",
    "host_uuid = \"00000000-0000-0000-0000-000000000001\"", "host_uuid_source = \"smbios\"",
    "keepalive_interval = 5", "keepalive_count = 5", "keepalive_required = 1",
    "admin_keepalive_required = 1", "admin_keepalive_interval = 5", "admin_keepalive_count = 5",
    "ovs_timeout = 5",
  ]

  @Test(
    "the broker starts with virtproxyd's file, with all keys commented out and with all in force",
    arguments: [false, true])
  func upgrade(isInForce: Bool) throws {
    let scratch = try Scratch()
    let text = Self.virtproxyd.map {
      "# What it is for.\n#\n\(isInForce ? "" : "#")\($0)\n"
        .replacing("DIRECTORY", with: scratch.path)
    }.joined(separator: "\n")
    // With all keys commented out the defaults are system paths, so the test sets these.
    let more =
      isInForce
      ? ""
      : "unix_sock_dir = \"\(scratch.path)\"\nlog_outputs = \"2:file:\(scratch.path)/log\"\nlog_level = 2"
    let path = try scratch.write("virtproxyd.conf", text + more)
    let check = try check(path)
    #expect(check.status == 0)
    #expect(!check.err.contains("unknown") && !check.err.contains("error"), "\(check.err)")
    let program = try Program(["-f", path, "-p", "\(scratch.path)/pid", "-v"])
    #expect(eventually { scratch.read("log").contains("is ready") || !program.isRunning })
    try #require(program.isRunning, "\(scratch.read("log")) \(check.err)")
    #expect(scratch.exists("libvirt-sock") && scratch.exists("libvirt-sock-ro"))
    let attributes = try FileManager.default.attributesOfItem(
      atPath: "\(scratch.path)/libvirt-sock")
    #expect(attributes[.posixPermissions] as? Int == (isInForce ? 0o770 : 0o777))
    program.signal(SIGTERM)
    #expect(program.result().status == 0)
  }

  @Test("each key of an installed libvirt configuration file is accepted")
  func installed() throws {
    for name in ["virtproxyd", "libvirtd"] {
      let path = "/etc/libvirt/\(name).conf"
      guard let text = try? String(contentsOfFile: path, encoding: .utf8) else { continue }
      let lines = text.split(separator: "\n").compactMap {
        $0.wholeMatch(of: /#?([a-z_]+) *= *[\["'0-9].*[\]"'0-9]/)?.1
      }
      // The pattern finds the keys whose value is on one line, which are most keys.
      let unknown = Set(lines.map(String.init)).subtracting(ConfigurationKey.all.keys)
      #expect(lines.count > 20 && unknown.isEmpty, "\(path): \(unknown)")
      #expect(try check(path).status == 0)
    }
  }
}
