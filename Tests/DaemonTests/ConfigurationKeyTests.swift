// Every key: the values it accepts and the values it refuses.
import Streams
import Testing

@testable import virtbrokerd

@Suite("configuration keys")
struct ConfigurationKeyTests {
  /// A key, values it accepts, values it refuses, and what its error message says was expected.
  struct Row: CustomTestStringConvertible, Sendable {
    let key: String
    let right: [String]
    let wrong: [String]
    let expected: String
    init(_ key: String, _ right: [String], _ wrong: [String], _ expected: String) {
      (self.key, self.right, self.wrong, self.expected) = (key, right, wrong, expected)
    }
    var testDescription: String { key }
  }

  private static func flag(_ key: String) -> Row {
    Row(key, ["0", "1"], ["2", "-1", "\"1\"", "[]"], "0 or 1")
  }
  private static func count(_ key: String, from lowest: Int = 0) -> Row {
    Row(
      key, ["\(lowest)", "1", "4294967295"], ["\(lowest - 1)", "4294967296", "\"5\"", "[ 5 ]"],
      "a number from \(lowest) to 4294967295")
  }
  private static func integer(_ key: String) -> Row {
    Row(
      key, ["-1", "0", "2147483647", "-2147483648"], ["2147483648", "-2147483649", "\"5\""],
      "a number from -2147483648 to 2147483647")
  }
  private static func texts(_ key: String) -> Row {
    Row(key, ["[]", "[ \"none\" ]"], ["\"x\"", "1", "[ 1 ]", "[ \"x\", 1 ]"], "a list of strings")
  }
  private static func port(_ key: String) -> Row {
    Row(
      key, ["\"0\"", "\"65535\"", "\"libvirt-tcp\"", "\"3com-tsmux\""],
      ["16509", "\"65536\"", "\"\"", "\"-1\"", "\"a b\"", "\"99999999999999999999\""],
      "a port number from 0 to 65535 or a service name, as a string")
  }
  private static func mode(_ key: String) -> Row {
    Row(
      key, ["\"0\"", "\"700\"", "\"0777\""], ["\"0800\"", "\"01777\"", "\"rwx\"", "\"\"", "700"],
      "permission bits in octal from 0 to 0777, as a string")
  }
  private static func file(_ key: String) -> Row {
    Row(key, ["\"/a\""], ["\"\"", "\"a\"", "1", "[ \"/a\" ]"], "an absolute path, as a string")
  }
  private static func files(_ key: String) -> Row {
    Row(
      key, ["\"/a\"", "[ \"/a\", \"/b\" ]"], ["\"\"", "\"a\"", "1", "[]", "[ \"/a\", \"b\" ]"],
      "an absolute path as a string, or a list of such")
  }
  private static func directory(_ key: String) -> Row {
    Row(
      key, ["\"/\"", "\"/run/x\"", "\"/\(String(repeating: "d", count: 87))\""],
      ["\"\"", "\"run\"", "\"/\(String(repeating: "d", count: 88))\"", "1"],
      "an absolute path with room for a socket's name, as a string")
  }
  private static func rate(_ key: String) -> Row {
    Row(
      key, ["0", "1000000", "\"500K\"", "\"1.5G\"", "\"0\"", "\"12\""],
      [
        "-1", "\"\"", "\"K\"", "\"-1M\"", "\"1.5\"", "\"1e9\"", "\"10 M\"", "\"9999999G\"", "[ 1 ]",
      ],
      "bytes a second: a number, or a string like \"500K\", \"10M\" or \"1.5G\"")
  }
  private static func method(_ key: String) -> Row {
    Row(key, ["\"none\""], ["\"None\"", "\"kerberos\"", "0"], "\"none\", \"sasl\" or \"polkit\"")
  }

  static let rows: [Row] = [
    flag("listen_tcp"), flag("listen_tls"), port("tcp_port"), port("tls_port"),
    Row("listen_addr", ["\"::1\""], ["\"\"", "1"], "a host name or address"),
    directory("unix_sock_dir"), directory("backend_socket_dir"),
    directory("backend_session_socket_dir"),
    Row("unix_sock_group", ["\"root\""], ["\"\"", "0"], "the name or number of a group"),
    mode("unix_sock_rw_perms"), mode("unix_sock_ro_perms"), mode("unix_sock_admin_perms"),
    method("auth_unix_rw"), method("auth_unix_ro"), method("auth_tcp"), method("auth_tls"),
    texts("access_drivers"), texts("tls_allowed_dn_list"), texts("sasl_allowed_username_list"),
    texts("upstream_allowed_hosts"), texts("upstream_settings"),
    Row(
      "upstream_reconnect", ["\"always\"", "\"never\""], ["\"no\"", "1"],
      "\"safe\", \"always\" or \"never\""),
    Row(
      "upstream_reconnect_seconds", ["1", "3600"], ["0", "3601", "\"30\""],
      "a number from 1 to 3600"),
    Row(
      "tcp_min_ssf", ["112", "256"], ["111", "-1", "\"112\""], "a number from 112 to 2147483647"),
    files("key_file"), files("cert_file"), file("ca_file"), file("crl_file"),
    Row("tls_priority", ["\"NORMAL\""], ["\"\"", "1"], "a GnuTLS priority string"),
    Row(
      "tls_handshake_timeout", ["1", "3600"], ["0", "3601", "\"1\""], "a number from 1 to 3600"),
    Row("tls_max_handshakes", ["1", "100000"], ["0", "100001"], "a number from 1 to 100000"),
    flag("tls_no_sanity_certificate"), flag("tls_no_verify_certificate"),
    count("max_clients"), count("max_queued_clients"), count("max_anonymous_clients"),
    count("max_client_requests", from: 1),
    count("max_clients_per_identity"), count("max_clients_per_address"),
    Row("auth_timeout", ["0", "86400"], ["-1", "86401", "\"1\""], "a number from 0 to 86400"),
    Row("open_timeout", ["1", "86400"], ["0", "86401"], "a number from 1 to 86400"),
    Row(
      "slow_call_seconds", ["0", "86400"], ["-1", "86401", "\"60\""], "a number from 0 to 86400"),
    Row(
      "max_client_buffer", ["65536", "1073741824"], ["65535", "1073741825", "\"65536\""],
      "a number from 65536 to 1073741824"),
    Row(
      "max_total_buffer", ["0", "1099511627776"], ["-1", "1099511627777", "\"1G\""],
      "a number from 0 to 1099511627776"),
    rate("max_console_rate"), rate("max_upload_rate"), rate("max_download_rate"),
    rate("max_migration_rate"),
    Row(
      "identity_rates", ["[]", "[ \"upload 10M joe@EXAMPLE.COM\", \"console 0 uid 1000\" ]"],
      ["\"upload 10M joe\"", "[ \"upload 10M\" ]", "[ \"other 1 x\" ]", "[ \"upload x joe\" ]"],
      "a list of strings like \"upload 10M joe@EXAMPLE.COM\": a kind of stream (console, upload, "
        + "download, migration), a rate and whom it is for"),
    Row(
      "metrics_listen",
      ["\"/run/x\"", "\"127.0.0.1:16515\"", "\"[::1]:0\"", "\":16515\"", "\"localhost:1\""],
      ["16515", "\"16515\"", "\"::1:16515\"", "\"host:x\"", "\"host:65536\"", "\"\""],
      "an absolute path, or an address and a port like \"127.0.0.1:16515\""),
    Row(
      "audit_log", ["\"file:/x\"", "\"journald\""], ["\"file:x\"", "\"syslog\"", "\"\"", "1"],
      "\"file:/path\" or \"journald\""),
    Row(
      "audit_calls", ["[]", "[ \"change\", \"disclose\", \"read\" ]"],
      ["\"change\"", "[ \"write\" ]", "[ 1 ]"], "a list of \"change\", \"disclose\" and \"read\""),
    count("min_workers"), count("max_workers", from: 1), count("prio_workers"),
    count("admin_min_workers"), count("admin_max_workers"), count("admin_max_clients"),
    count("admin_max_queued_clients"), count("admin_max_client_requests"),
    integer("keepalive_interval"), count("keepalive_count"),
    integer("admin_keepalive_interval"), count("admin_keepalive_count"),
    Row("log_level", ["0", "4"], ["5", "-1", "\"3\""], "a number from 0 to 4"),
    Row(
      "log_outputs", ["\"\"", "\"1:stderr\"", "\"3:file:/x 2:syslog:y\"", "\"4:journald\""],
      [
        "1", "\"stderr\"", "\"0:stderr\"", "\"5:stderr\"", "\"1:file:\"", "\"1:stderr:x\"",
        "\"1:fax:x\"",
      ],
      "outputs as N:stderr, N:file:/path, N:syslog:name or N:journald"),
    Row(
      "log_filters", ["\"\"", "\"1:rpc\"", "\"3:*tls* 4:util\""],
      ["1", "\"rpc\"", "\"0:rpc\"", "\"5:rpc\"", "\"1:\""],
      "filters as N:match, separated by blanks"),
    Row("user", ["\"virtbroker\""], ["\"\"", "0"], "the name or number of a user"),
    count("audit_level"), flag("audit_logging"),
    Row(
      "host_uuid", ["\"8510bd5a-9d2c-4a5a-a2f1-73b8c5b1c5f0\""], ["\"8510\"", "\"x\"", "1"],
      "a UUID in hexadecimal"),
    Row(
      "host_uuid", ["\"00000000-0000-0000-0000-000000000001\""],
      [
        "\"00000000-0000-0000-0000-000000000000\"", "\"abababab-ABAB-abab-abab-abababababab\"",
        "\"11111111111111111111111111111111\"",
      ], "a UUID whose bytes are not all equal"),
    Row(
      "host_uuid_source", ["\"smbios\"", "\"machine-id\""], ["\"dmi\"", "1"],
      "\"smbios\" or \"machine-id\""),
    count("ovs_timeout"),
    Row("keepalive_required", ["1", "\"x\""], [], ""),
    Row("admin_keepalive_required", ["1", "\"x\""], [], ""),
  ]

  @Test("a key accepts its values", arguments: rows)
  func right(row: Row) throws {
    for value in row.right {
      let (_, diagnostics) = try Configuration.reading("\(row.key) = \(value)")
      // Checks across keys are not part of this test.
      #expect(
        !diagnostics.contains { $0.message.has(.invalidValue) }, "\(value) gives \(diagnostics)")
    }
  }

  @Test("a key refuses other values and says what it expected and what it found", arguments: rows)
  func wrong(row: Row) throws {
    for value in row.wrong {
      let (_, diagnostics) = try Configuration.reading("# first line\n\(row.key) = \(value)")
      let found =
        switch value.first {
        case "\"": "the string \(value)"
        case "[": value == "[]" ? "an empty list" : "a list"
        default: "the number \(value)"
        }
      let stage: Stage = row.key.hasSuffix("_perms") ? .network : .configuration
      #expect(
        diagnostics.first
          == Diagnostic(.invalidValue, ["conf:2: \(row.key)", row.expected, found], at: stage))
    }
  }

  @Test("every key of the program is in the table above")
  func complete() {
    #expect(Set(Self.rows.map(\.key)) == Set(ConfigurationKey.all.keys))
  }

  @Test(
    "the sample file has every key, and with all its defaults in force the settings are the defaults"
  )
  func sample() throws {
    let lines = try projectFile("etc/virtbrokerd.conf").split(separator: "\n")
    let settings = lines.compactMap { $0.wholeMatch(of: /#([a-z_]+) = .*/) }
    #expect(Set(settings.map { String($0.1) }) == Set(ConfigurationKey.all.keys))
    for setting in settings {
      let (_, diagnostics) = try Configuration.reading(String(setting.0.dropFirst()))
      #expect(diagnostics.failure == nil, "\(setting.0)")
    }

    let (untouched, silence) = try Configuration.reading(lines.joined(separator: "\n"))
    #expect(untouched == Configuration() && silence.isEmpty)

    let notDefaults: Set = [
      "listen_addr", "unix_sock_dir", "unix_sock_group", "backend_socket_dir",
      "backend_session_socket_dir", "access_drivers", "log_outputs", "log_filters",
      "unix_sock_rw_perms", "auth_unix_rw", "auth_unix_ro", "user", "tcp_min_ssf",
      "sasl_allowed_username_list", "identity_rates", "metrics_listen", "audit_log",
      "key_file", "cert_file", "ca_file", "crl_file", "tls_allowed_dn_list", "tls_priority",
      "upstream_allowed_hosts", "upstream_settings",
    ]
    let defaults = settings.filter { !notDefaults.contains(String($0.1)) }
    var (all, _) = try Configuration.reading(
      defaults.map { String($0.0.dropFirst()) }.joined(separator: "\n"))
    #expect(all.places.count == defaults.count)
    all.places = [:]
    #expect(all == Configuration())
  }
}
