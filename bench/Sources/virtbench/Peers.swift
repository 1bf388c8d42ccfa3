// The measured ways to a daemon, and how each is started.
import Ends
import Foundation

extension Child {
  /// Starts a program whose output goes to a file in `directory`, and waits until a client reaches the daemon at or
  /// behind `place`.
  static func serving(
    at place: Place, _ program: String, _ arguments: [String], in directory: URL
  ) throws -> Child {
    let log = directory.appendingPathComponent("output")
    let child = try Child(program, arguments, log: log.path)
    for _ in 0..<500 {
      if let client = try? Client(to: place) {
        try client.close()
        return child
      }
      guard child.isRunning else { break }
      usleep(10_000)
    }
    child.stop()
    let said = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    throw EndFailure(
      "\(program) does not serve at \(place). It said: "
        + said.trimmingCharacters(in: .whitespacesAndNewlines))
  }
}

/// The daemon in front of which the peers of one backend are started.
struct Scene {
  let backend: Backend
  /// The daemon's UNIX socket.
  let socket: String
  /// The real libvirtd, if the backend is one.
  let lab: Lab?
  /// The directory for the peers' files, with a subdirectory for each peer.
  let directory: URL
  /// With TLS: the peers' certificates.
  var certificates: BenchCertificates?
  /// With TLS: the socket of a daemon that sends the welcome byte, for a relay that does not send it itself.
  var welcomingSocket: String?
}

/// One way to the daemon: a direct connection, the broker, or another relay.
enum Peer: String, CaseIterable {
  case direct
  case virtbrokerd
  case limit
  case haproxy
  case haproxySplice = "haproxy-splice"
  case haproxyDefault = "haproxy-default"
  case socat
  case libvirtdTCP = "libvirtd-tcp"
  case virtproxyd

  /// Its description and configuration, for the reader of the results.
  var explanation: String {
    switch self {
    case .direct: "the daemon's own UNIX socket, no relay"
    case .virtbrokerd: "this broker, TCP to UNIX, `max_client_requests = 64`"
    case .limit: "bench/limit: C, blocking, a thread per direction, 256 KiB buffers, TCP to UNIX"
    case .haproxy: "TCP mode, one thread, 256 KiB buffers (tune.bufsize), TCP to UNIX"
    case .haproxySplice: "the same with option splice-auto"
    case .haproxyDefault: "the same as haproxy with HAProxy's default buffers of 16 KiB"
    case .socat: "TCP-LISTEN,fork to UNIX-CONNECT with -b 262144"
    case .libvirtdTCP: "the real libvirtd's own TCP listener, no relay"
    case .virtproxyd: "libvirt's own proxy, TCP to UNIX, `max_client_requests = 64`"
    }
  }

  /// Its place in the palette, which stays the same when peers are added.
  var color: Int {
    switch self {
    case .direct: 0
    case .virtbrokerd: 1
    case .limit: 2
    case .haproxy: 3
    case .haproxySplice: 4
    case .socat: 5
    case .libvirtdTCP: 6
    case .virtproxyd: 7
    case .haproxyDefault: 8
    }
  }

  /// Whether it can run in front of this backend.
  func isFor(_ backend: Backend) -> Bool {
    switch backend {
    case .synthetic: self != .libvirtdTCP
    case .tls: [.virtbrokerd, .haproxy, .haproxyDefault, .virtproxyd].contains(self)
    case .libvirtd: true
    }
  }

  /// The programs given to `compare`; others are looked up in the search path.
  struct Programs {
    var broker: String
    var virtproxyd: String?
    /// The directory of virtproxyd's libvirt.so.0; nil means one near the program, otherwise the system's.
    var virtproxydLibraries: String?

    /// The directory for virtproxyd's LD_LIBRARY_PATH; nil if the system's library is the right one. A program in a
    /// build tree or below a DESTDIR must not run with the library of another version.
    var virtproxydLibraryPath: String? {
      if let virtproxydLibraries { return virtproxydLibraries }
      guard let virtproxyd else { return nil }
      let directory = URL(fileURLWithPath: virtproxyd).resolvingSymlinksInPath()
        .deletingLastPathComponent()
      let lib = directory.deletingLastPathComponent().appendingPathComponent("lib")
      let multiarch = (try? FileManager.default.contentsOfDirectory(atPath: lib.path)) ?? []
      let places =
        [
          directory.path, lib.path, lib.path + "64",
        ] + multiarch.filter { $0.hasSuffix("-linux-gnu") }.map { "\(lib.path)/\($0)" }
      return places.first { FileManager.default.fileExists(atPath: "\($0)/libvirt.so.0") }
    }
  }

  /// The path of its program. If there is none, the error says what to do.
  private func program(_ programs: Programs) throws -> String {
    switch self {
    case .direct, .libvirtdTCP: throw EndFailure("nothing is started for \(rawValue)")
    case .virtbrokerd:
      guard let path = Program.executable(programs.broker) else {
        throw EndFailure("there is no program at \(programs.broker) (--broker)")
      }
      return path
    case .limit:
      let path = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("limit-relay").path
      guard let path = Program.executable(path) else {
        throw EndFailure("there is no program at \(path)")
      }
      return path
    case .haproxy, .haproxySplice, .haproxyDefault: return try Self.installed("haproxy")
    case .socat: return try Self.installed("socat")
    case .virtproxyd:
      guard let given = programs.virtproxyd else { return try Self.installed("virtproxyd") }
      guard let path = Program.executable(given) else {
        throw EndFailure("there is no program at \(given) (--virtproxyd)")
      }
      return path
    }
  }

  private static func installed(_ name: String) throws -> String {
    guard let path = Program.find(name) else { throw EndFailure("\(name) is not installed") }
    return path
  }

  /// Starts it in front of the scene's daemon. Returns where to connect, and its process, if any. The error says why
  /// it cannot be measured.
  func start(_ programs: Programs, in scene: Scene) throws -> (subject: Subject, child: Child?) {
    switch self {
    case .direct:
      let way = scene.lab.map {
        ClientWay(
          uri: "qemu:///system?socket=\(scene.socket)", daemon: $0.daemon, volumes: $0.volumes)
      }
      return (Subject(peer: rawValue, place: .unix(path: scene.socket), client: way), nil)
    case .libvirtdTCP:
      guard let lab = scene.lab else { throw EndFailure("only a real libvirtd has a TCP listener") }
      // The lab has its own network, which only the client enters.
      let place = Place.tcp(host: "127.0.0.1", port: lab.port)
      let way = ClientWay(
        uri: Self.uri(port: lab.port), prefix: ["nsenter", "--net=/proc/\(lab.daemon)/ns/net"],
        daemon: lab.daemon, volumes: lab.volumes)
      return (Subject(peer: rawValue, place: place, client: way), nil)
    default:
      let program = try program(programs)
      let directory = scene.directory.appendingPathComponent(rawValue)
      try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
      let port = String(try Socket.freePort())
      let place =
        scene.certificates.map { Place.tls(host: "127.0.0.1", port: port, $0.credentials) }
        ?? .tcp(host: "127.0.0.1", port: port)
      let words = try commandLine(
        program, port: port, in: scene, directory, libraries: programs.virtproxydLibraryPath)
      let child = try Child.serving(
        at: place, words[0], Array(words.dropFirst()), in: directory)
      let way = scene.lab.map {
        ClientWay(uri: Self.uri(port: port), daemon: $0.daemon, volumes: $0.volumes)
      }
      return (Subject(peer: rawValue, place: place, process: child.pid, client: way), child)
    }
  }

  private static func uri(port: String) -> String { "qemu+tcp://127.0.0.1:\(port)/system" }

  /// Writes its files into `directory`, which it does not share. Returns its command line.
  private func commandLine(
    _ program: String, port: String, in scene: Scene, _ directory: URL, libraries: String?
  ) throws -> [String] {
    let backend = scene.socket
    // A libvirt listener: the same settings for the broker and virtproxyd.
    let listener =
      scene.certificates.map {
        """
        listen_tls = 1
        tls_port = "\(port)"
        auth_tls = "none"
        key_file = "\($0.key("server"))"
        cert_file = "\($0.certificate("server"))"
        ca_file = "\($0.authority)"
        """
      } ?? """
        listen_tls = 0
        listen_tcp = 1
        tcp_port = "\(port)"
        auth_tcp = "none"
        """
    let configuration = directory.appendingPathComponent("configuration")
    func write(_ text: String) throws {
      try text.write(to: configuration, atomically: false, encoding: .utf8)
    }
    switch self {
    case .direct, .libvirtdTCP: throw EndFailure("nothing is started for \(rawValue)")
    case .virtbrokerd:
      try write(
        """
        \(listener)
        listen_addr = "127.0.0.1"
        \(Self.limits)
        unix_sock_dir = "\(directory.path)"
        backend_socket_dir = "\(URL(fileURLWithPath: backend).deletingLastPathComponent().path)"
        log_outputs = "3:stderr"

        """)
      return [
        program, "-f", configuration.path, "-p", directory.appendingPathComponent("pid").path,
      ]
    case .limit: return [program, port, backend]
    case .haproxy, .haproxySplice, .haproxyDefault:
      let tls = scene.certificates.map {
        "ssl crt \($0.bundle) ca-file \($0.authority) verify required"
      }
      try write(
        """
        global
          nbthread 1
          \(self == .haproxyDefault ? "" : "tune.bufsize 262144")
        defaults
          mode tcp
          timeout connect 5s
          timeout client 1h
          timeout server 1h
        listen libvirt
          bind 127.0.0.1:\(port) \(tls ?? "")
          \(self == .haproxySplice ? "option splice-auto" : "")
          server daemon unix@\(scene.welcomingSocket ?? backend)

        """)
      return [program, "-db", "-f", configuration.path]
    case .socat:
      return [
        program, "-b", "262144", "TCP-LISTEN:\(port),bind=127.0.0.1,fork,reuseaddr,nodelay",
        "UNIX-CONNECT:\(backend)",
      ]
    case .virtproxyd:
      // It finds its daemons only by fixed paths, so it gets a mount namespace in which the daemons' and libvirt's
      // directories belong to this comparison.
      let sockets = directory.appendingPathComponent("run/libvirt")
      for name in Self.mounted {
        try FileManager.default.createDirectory(
          at: directory.appendingPathComponent(name), withIntermediateDirectories: true)
      }
      try FileManager.default.createDirectory(at: sockets, withIntermediateDirectories: true)
      for name in ["virtqemud-sock", "virtstoraged-sock"] {
        try FileManager.default.createSymbolicLink(
          atPath: sockets.appendingPathComponent(name).path, withDestinationPath: backend)
      }
      try write(
        """
        \(listener)
        listen_addr = "127.0.0.1"
        auth_unix_rw = "none"
        \(Self.limits)

        """)
      let script = """
        set -e
        for name in \(Self.mounted.joined(separator: " ")); do
          mkdir -p "/$name"
          mount --bind "$1/$name" "/$name"
        done
        [ -z "$3" ] || export LD_LIBRARY_PATH="$3"
        exec "$2" --config "$1/configuration" --pid-file /run/virtproxyd.pid
        """
      return [
        try Self.installed("unshare"), "--mount", "--propagation", "private", "/bin/sh", "-c",
        script, "sh", directory.path, program, libraries ?? "",
      ]
    }
  }

  /// More clients and requests than any measurement has, because the other relays do not count them.
  private static let limits = """
    max_client_requests = 64
    max_clients = 50000
    max_queued_clients = 4096
    max_anonymous_clients = 4096
    """

  private static let mounted = [
    "run", "etc/libvirt", "var/lib/libvirt", "var/cache/libvirt", "var/log/libvirt",
  ]
}
