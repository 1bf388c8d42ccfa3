// The meaning of a configuration as a whole, and the settings that the broker gets.
import Broker
import Foundation
import Streams
import Testing

@testable import virtbrokerd

@Suite("configuration")
struct ConfigurationTests {
  private static let root = Places(isRoot: true, environment: [:], home: "/root")
  private static let user = Places(
    isRoot: false, environment: ["XDG_RUNTIME_DIR": "/run/user/7"], home: "/home/u")

  private func settings(
    _ text: String, places: Places = root
  ) throws -> BrokerSettings {
    let (configuration, diagnostics) = try Configuration.reading(text)
    #expect(diagnostics.failure == nil)
    return try configuration.settings(places: places, idleSeconds: 0)
  }

  @Test(
    "an unknown key is a warning that names the nearest known one",
    arguments: [
      ("max_client = 1", "conf:1: max_client", "max_clients"),
      ("listen_tpc = 1", "conf:1: listen_tpc", "listen_tcp"),
      ("\nloglevel = 1", "conf:2: loglevel", "log_level"),
      ("unix_socket_dir = 1", "conf:1: unix_socket_dir", "unix_sock_dir"),
      ("LISTEN_TCP = 1", "conf:1: LISTEN_TCP", nil),
      ("migration_address = \"x\"", "conf:1: migration_address", nil),
    ] as [(String, String, String?)])
  func unknown(text: String, place: String, meant: String?) throws {
    let (configuration, diagnostics) = try Configuration.reading(text)
    let expected =
      meant.map { Diagnostic(.misspeltKey, [place, $0]) } ?? Diagnostic(.unknownKey, [place])
    #expect(diagnostics == [expected])
    #expect(configuration == Configuration())
  }

  @Test("the distance of two words is the number of edits between them")
  func distance() {
    #expect(edits(from: "", to: "") == 0)
    #expect(edits(from: "", to: "abc") == 3)
    #expect(edits(from: "abc", to: "") == 3)
    #expect(edits(from: "kitten", to: "sitting") == 3)
    #expect(edits(from: "flaw", to: "lawn") == 2)
    #expect(nearest(to: String(repeating: "a", count: 65), among: ["a"]) == nil)
  }

  @Test("a repeated key is ignored with a warning; the first value counts, as in libvirt")
  func repeated() throws {
    let (configuration, diagnostics) = try Configuration.reading(
      "max_clients = 50\nmax_clients = \"x\"")
    #expect(configuration.maxClients == 50)
    #expect(diagnostics == [Diagnostic(.repeatedKey, ["conf:2: max_clients", 1])])
  }

  @Test(
    "setting a key without effect gives a warning",
    arguments: [
      "min_workers = 6", "max_workers = 5", "prio_workers = 0", "admin_min_workers = 1",
      "admin_max_workers = 5",
    ])
  func withoutEffect(text: String) throws {
    let (_, diagnostics) = try Configuration.reading(text)
    let key = text.prefix { $0 != " " }
    #expect(diagnostics == [Diagnostic(.workersWithoutEffect, ["conf:1: \(key)"])])
  }

  @Test("libvirt's numbers of workers give no warning, and the admin server reports all numbers")
  func workers() throws {
    let (_, diagnostics) = try Configuration.reading(
      "min_workers = 5\nmax_workers = 20\nprio_workers = 5\nadmin_min_workers = 5\nadmin_max_workers = 20"
    )
    #expect(diagnostics.isEmpty)
    let admin = try settings(
      "min_workers = 1\nmax_workers = 2\nprio_workers = 3\nadmin_min_workers = 4\nadmin_max_workers = 6"
    ).admin
    #expect(admin.mainWorkers == WorkerSettings(minimum: 1, maximum: 2, priority: 3))
    #expect(admin.adminWorkers == WorkerSettings(minimum: 4, maximum: 6, priority: 0))
  }

  @Test(
    "settings that contradict each other, or that this build lacks, end the start",
    arguments: [
      (
        "cert_file = \"/x\"\nlisten_tls = 1",
        Diagnostic(.tlsFilesIncomplete, ["conf:1: cert_file", "key_file and ca_file"])
      ),
      (
        "listen_tls = 1\nca_file = \"/x\"\nkey_file = \"/k\"",
        Diagnostic(.tlsFilesIncomplete, ["conf:3: key_file", "cert_file"])
      ),
      (
        "listen_tls = 1\nca_file = \"/x\"\nkey_file = \"/k\"\ncert_file = [ \"/a\", \"/b\" ]",
        Diagnostic(.unpairedCertificates, ["conf:4: cert_file", "2 certificates", "1 key"])
      ),
      ("auth_tcp = \"polkit\"", Diagnostic(.polkitNeedsUNIXSocket, ["conf:1: auth_tcp"])),
      ("auth_tls = \"polkit\"", Diagnostic(.polkitNeedsUNIXSocket, ["conf:1: auth_tls"])),
      (
        "access_drivers = [ \"none\", \"polkit\" ]",
        Diagnostic(.noAccessDriver, ["conf:1: access_drivers", "polkit"])
      ),
      ("audit_level = 2", Diagnostic(.auditingRequired, ["conf:1: audit_level"], at: .audit)),
      (
        "max_anonymous_clients = 9\nmax_clients = 8",
        Diagnostic(
          .tooManyAnonymousClients, ["conf:1: max_anonymous_clients", 9, 8], at: .initialisation)
      ),
      (
        "max_clients = 19",
        Diagnostic(.tooManyAnonymousClients, ["conf:1: max_clients", 20, 19], at: .initialisation)
      ),
    ])
  func refused(text: String, expected: Diagnostic) throws {
    let (_, diagnostics) = try Configuration.reading(text)
    #expect(diagnostics.failure == StartFailure(expected.stage, [expected.message]))
  }

  @Test("keys without effect for the same reason share one warning, after all others")
  func remarksTogether() throws {
    let (_, diagnostics) = try Configuration.reading(
      "min_workers = 1\nnonsense = 1\nmax_workers = 2\nprio_workers = 3")
    #expect(
      diagnostics == [
        Diagnostic(.unknownKey, ["conf:2: nonsense"]),
        Diagnostic(
          .workersWithoutEffect,
          ["conf:1: min_workers, conf:3: max_workers, conf:4: prio_workers"]),
      ])
  }

  @Test("all errors are reported, and the exit status is that of the earliest stage")
  func several() throws {
    let (_, diagnostics) = try Configuration.reading(
      "unix_sock_rw_perms = \"9\"\nmax_clients = 1\nlisten_tcp = 3")
    let failure = try #require(diagnostics.failure)
    #expect(failure.stage == .configuration)
    #expect(
      failure.messages.map { $0.text.prefix(7) }
        == ["conf:1:", "conf:3:", "conf:2:"].map { $0[...] }
    )
  }

  @Test("root's broker listens on both sockets of /run/libvirt, as libvirt does by default")
  func defaults() throws {
    let settings = try settings("")
    #expect(
      settings.listeners == [
        ListenerSettings(
          .unix(path: "/run/libvirt/libvirt-sock", mode: 0o777, group: nil), authentication: .polkit
        ),
        ListenerSettings(
          .unix(path: "/run/libvirt/libvirt-sock-ro", mode: 0o777, group: nil), isReadOnly: true,
          authentication: .polkit),
      ])
    let unasked = try self.settings("auth_unix_rw = \"none\"")
    #expect(
      unasked.listeners[0]
        == ListenerSettings(.unix(path: "/run/libvirt/libvirt-sock", mode: 0o700, group: nil)))
    #expect(settings.backends.systemDirectory == "/run/libvirt")
    #expect(settings.backends.sessionDirectory == nil)
    #expect(settings.limits == LimitSettings())
    #expect(settings.keepAlive == KeepAliveSettings())
  }

  @Test("a user's broker has one socket, in the user's runtime directory")
  func ofUser() throws {
    let settings = try settings("", places: Self.user)
    #expect(
      settings.listeners == [
        ListenerSettings(.unix(path: "/run/user/7/libvirt/libvirt-sock", mode: 0o700, group: nil))
      ])
    #expect(settings.backends.systemDirectory == "/run/libvirt")
    #expect(settings.backends.sessionDirectory == "/run/user/7/libvirt")
  }

  @Test("every setting reaches the broker")
  func everything() throws {
    let settings = try settings(
      """
      unix_sock_dir = "/s"
      unix_sock_group = "4711"
      unix_sock_rw_perms = "0660"
      unix_sock_ro_perms = "0664"
      listen_tcp = 1
      auth_tcp = "none"
      listen_addr = "192.0.2.1"
      tcp_port = "4000"
      max_clients = 100
      max_queued_clients = 0
      max_anonymous_clients = 0
      max_client_requests = 1
      max_client_buffer = 100000
      keepalive_interval = -1
      keepalive_count = 2
      backend_socket_dir = "/b"
      backend_session_socket_dir = "/c"
      """)
    #expect(
      settings.listeners == [
        ListenerSettings(
          .unix(path: "/s/libvirt-sock", mode: 0o660, group: 4711), authentication: .polkit),
        ListenerSettings(
          .unix(path: "/s/libvirt-sock-ro", mode: 0o664, group: 4711), isReadOnly: true,
          authentication: .polkit),
        ListenerSettings(.tcp(host: "192.0.2.1", port: "4000")),
      ])
    #expect(settings.limits.maxClients == 100)
    #expect(settings.limits.maxQueuedClients == 30, "no backlog is libvirt's 30")
    #expect(settings.limits.maxAnonymousClients == 0)
    #expect(settings.limits.maxClientRequests == 1)
    #expect(settings.limits.bufferBytes == 100_000)
    #expect(settings.keepAlive.intervalSeconds == -1)
    #expect(settings.keepAlive.count == 2)
    #expect(settings.backends.systemDirectory == "/b")
    #expect(settings.backends.sessionDirectory == "/c")
  }

  @Test("the admin socket is beside the others and has its owner's permissions unless configured")
  func admin() throws {
    func socket(_ path: String, _ mode: UInt32, _ group: UInt32? = nil) -> ListenerSettings {
      var listener = ListenerSettings(.unix(path: path, mode: mode, group: group))
      listener.isAdmin = true
      return listener
    }
    let usual = try settings("")
    #expect(usual.adminListener == socket("/run/libvirt/libvirt-admin-sock", 0o700))
    #expect(usual.admin == AdminSettings())
    let user = try settings("", places: Self.user)
    #expect(user.adminListener == socket("/run/user/7/libvirt/libvirt-admin-sock", 0o700))
    let told = try settings(
      """
      unix_sock_dir = "/s"
      unix_sock_group = "4711"
      unix_sock_admin_perms = "0600"
      admin_max_clients = 3
      admin_max_queued_clients = 0
      admin_keepalive_interval = -1
      admin_keepalive_count = 4
      """)
    #expect(told.adminListener == socket("/s/libvirt-admin-sock", 0o600, 4711))
    #expect(told.admin.maxClients == 3)
    #expect(told.admin.maxQueuedClients == 30, "no backlog is libvirt's 30")
    #expect(told.admin.keepAlive.intervalSeconds == -1)
    #expect(told.admin.keepAlive.count == 4)
  }

  @Test("TCP without an address means all addresses")
  func allAddresses() throws {
    let settings = try settings("listen_tcp = 1\nauth_tcp = \"none\"")
    #expect(settings.listeners.last == ListenerSettings(.tcp(host: nil, port: "16509")))
  }

  @Test("a group is looked up by name; an unknown group ends the start at the network stage")
  func group() throws {
    let name = try #require(getgrgid(getgid())).pointee.gr_name
    let settings = try settings("unix_sock_group = \"\(String(cString: try #require(name)))\"")
    guard case .unix(_, _, let group) = settings.listeners[0].address else {
      Issue.record("not a UNIX socket")
      return
    }
    #expect(group == getgid())

    let (configuration, _) = try Configuration.reading("\n\nunix_sock_group = \"no such group\"")
    #expect(
      throws: StartFailure(
        .network, .unknownGroup, ["conf:3: unix_sock_group", "no such group"])
    ) {
      try configuration.settings(places: Self.root, idleSeconds: 0)
    }
  }

  @Test("a default file may be missing; a file given on the command line must exist")
  func missing() throws {
    let scratch = try Scratch()
    let path = "\(scratch.path)/none.conf"
    let (configuration, diagnostics) = try Configuration.load(path, mayBeMissing: true)
    #expect(configuration == Configuration() && diagnostics.isEmpty)
    #expect(
      throws: StartFailure(
        .configuration, .cannotOpenConfiguration, [path, "No such file or directory"])
    ) { try Configuration.load(path, mayBeMissing: false) }
    #expect(
      throws: StartFailure(
        .configuration, .cannotReadConfiguration, [scratch.path, "Is a directory"])
    ) { try Configuration.load(scratch.path, mayBeMissing: true) }
  }

  @Test("a user's files are where the environment says, else below the home directory")
  func places() {
    let plain = Places(isRoot: false, environment: [:], home: "/home/u")
    #expect(plain.configurationFile == "/home/u/.config/libvirt/virtbrokerd.conf")
    #expect(plain.runtimeDirectory == "/home/u/.cache/libvirt")
    #expect(plain.pidFile == "/home/u/.cache/libvirt/virtbrokerd.pid")
    #expect(plain.logFile == "/home/u/.cache/libvirt/log/virtbrokerd.log")
    let directed = Places(
      isRoot: false,
      environment: ["XDG_CONFIG_HOME": "/c", "XDG_RUNTIME_DIR": "/r", "XDG_CACHE_HOME": ""],
      home: "/h")
    #expect(directed.configurationFile == "/c/libvirt/virtbrokerd.conf")
    #expect(directed.pidFile == "/r/libvirt/virtbrokerd.pid")
    #expect(directed.logFile == "/h/.cache/libvirt/log/virtbrokerd.log")
    #expect(Self.root.configurationFile == "/etc/libvirt/virtbrokerd.conf")
    #expect(Self.root.pidFile == "/run/virtbrokerd.pid")
  }

  @Test("TLS uses libvirt's files or the configured ones")
  func tlsFiles() throws {
    let (usual, _) = try Configuration.reading("listen_tls = 1")
    let settings = try usual.settings(places: Self.root, idleSeconds: 0)
    var expected = TLSSettings(
      pairs: [
        .init(
          certificateFile: "/etc/pki/libvirt/servercert.pem",
          keyFile: "/etc/pki/libvirt/private/serverkey.pem")
      ], authorityFile: "/etc/pki/CA/cacert.pem", revocationFile: "/etc/pki/CA/cacrl.pem")
    expected.mayLackRevocationFile = true
    #expect(settings.tls == expected)
    #expect(
      settings.listeners.last == ListenerSettings(.tcp(host: nil, port: "16514"), isTLS: true))

    let (named, diagnostics) = try Configuration.reading(
      """
      listen_tls = 1
      tls_port = "1234"
      cert_file = [ "/ec", "/rsa" ]
      key_file = [ "/eckey", "/rsakey" ]
      ca_file = "/ca"
      crl_file = "/crl"
      tls_no_sanity_certificate = 1
      tls_no_verify_certificate = 1
      tls_allowed_dn_list = []
      tls_priority = "NORMAL"
      tls_handshake_timeout = 3
      tls_max_handshakes = 7
      """)
    #expect(diagnostics == [])
    let own = try named.settings(places: Self.root, idleSeconds: 0)
    var all = TLSSettings(
      pairs: [
        .init(certificateFile: "/ec", keyFile: "/eckey"),
        .init(certificateFile: "/rsa", keyFile: "/rsakey"),
      ], authorityFile: "/ca", revocationFile: "/crl")
    all.checksOwnCertificates = false
    all.refusesClients = false
    all.allowedNames = []
    all.priority = "NORMAL"
    all.handshakeSeconds = 3
    all.maxHandshakes = 7
    #expect(own.tls == all)
    #expect(own.listeners.last == ListenerSettings(.tcp(host: nil, port: "1234"), isTLS: true))

    // Without the other keys a configured revocation list replaces the default one and must exist.
    let (crl, _) = try Configuration.reading("listen_tls = 1\ncrl_file = \"/crl\"")
    let withCRL = try crl.settings(places: Self.root, idleSeconds: 0)
    #expect(withCRL.tls?.revocationFile == "/crl" && withCRL.tls?.mayLackRevocationFile == false)
    #expect(try Configuration.reading("").0.settings(places: Self.root, idleSeconds: 0).tls == nil)
  }

  @Test("a user's own certificates replace the system's; certificate and key only together")
  func userFiles() {
    let own = "/home/u/.pki/libvirt"
    func places(_ files: String...) -> TLSPlaces {
      TLSPlaces.of(user: "/home/u") { path in files.contains { "\(own)/\($0)" == path } }
    }
    #expect(places() == .system)
    #expect(places("servercert.pem") == .system)
    #expect(places("servercert.pem", "serverkey.pem").certificate == "\(own)/servercert.pem")
    #expect(places("servercert.pem", "serverkey.pem").key == "\(own)/serverkey.pem")
    #expect(places("cacert.pem").authority == "\(own)/cacert.pem")
    #expect(places("cacert.pem").certificate == TLSPlaces.system.certificate)
    #expect(places("cacrl.pem").revocation == "\(own)/cacrl.pem")
  }

  @Test(
    "an error about another host names the entry it is in",
    arguments: [
      (
        "upstream_allowed_hosts = [ \"hostb\", \"ftp://x\" ]", "'ftp://x': 'ftp' is not a transport"
      ),
      ("upstream_settings = [ \"hostb keyfile=x\" ]", "'hostb keyfile=x': keyfile: expected"),
      ("upstream_settings = [ \"hostb kefile=/x\" ]", "unknown parameter 'kefile'"),
    ])
  func upstreams(line: String, words: String) throws {
    let (_, diagnostics) = try Configuration.reading(line)
    let message = try #require(diagnostics.failure?.messages.first)
    #expect(message.has(.invalidUpstreamEntry) && message.text.contains(words), "\(message)")
    #expect(message.text.hasPrefix("conf:1: upstream_"))
  }

  @Test("the files that a rule for other hosts names must exist")
  func upstreamFiles() throws {
    let (configuration, diagnostics) = try Configuration.reading(
      "upstream_settings = [ \"hostb keyfile=/nowhere/at/all\" ]")
    #expect(diagnostics.isEmpty)
    #expect {
      try configuration.settings(places: Self.root, idleSeconds: 0)
    } throws: { error in
      error as? StartFailure
        == StartFailure(
          .configuration, .inaccessibleUpstreamFile,
          [
            "conf:1: upstream_settings", "keyfile=/nowhere/at/all", "No such file or directory",
          ])
    }
  }
}
