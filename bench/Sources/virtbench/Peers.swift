// The ways to the synthetic daemon that are measured beside each other.
import ArgumentParser
import Ends
import Foundation

extension Child {
  /// Starts a program whose output goes to a file in `directory`, and waits until a client gets
  /// through to the daemon at or behind `place`.
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
    let said = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
    throw EndFailure("\(program) does not serve at \(place). It said: \(said)")
  }
}

/// One way to the daemon: nothing between, our broker, or somebody else's relay.
enum Peer: String, CaseIterable, ExpressibleByArgument {
  case direct
  case virtbrokerd
  case limit
  case haproxy
  case haproxySplice = "haproxy-splice"
  case socat

  /// What it is and how it was set up, for the reader of the results.
  var explanation: String {
    switch self {
    case .direct: "the daemon's own UNIX socket, no relay"
    case .virtbrokerd: "this broker, TCP to UNIX"
    case .limit: "bench/limit: C, blocking, a thread per direction, 256 KiB buffers, TCP to UNIX"
    case .haproxy: "TCP mode, one thread, 256 KiB buffers (tune.bufsize), TCP to UNIX"
    case .haproxySplice: "the same with option splice-auto"
    case .socat: "TCP-LISTEN,fork to UNIX-CONNECT with -b 262144"
    }
  }

  /// Where its program is; nil if it is not installed or there is none.
  func program(broker: String) -> String? {
    switch self {
    case .direct: nil
    case .virtbrokerd: Self.executable(broker)
    case .limit:
      Self.executable(
        URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
          .deletingLastPathComponent().appendingPathComponent("limit-relay").path)
    case .haproxy, .haproxySplice: Self.find("haproxy")
    case .socat: Self.find("socat")
    }
  }

  /// Starts it in front of the daemon whose socket is `backend`, with `directory` to itself.
  func start(_ program: String, before backend: String, in directory: URL) throws -> (Child, Place)
  {
    let port = String(try Socket.freePort())
    let configuration = directory.appendingPathComponent("configuration")
    func write(_ text: String) throws {
      try text.write(to: configuration, atomically: false, encoding: .utf8)
    }
    let arguments: [String]
    switch self {
    case .direct: throw EndFailure("nothing is started for a direct connection")
    case .virtbrokerd:
      try write(
        """
        listen_tcp = 1
        listen_addr = "127.0.0.1"
        tcp_port = "\(port)"
        auth_tcp = "none"
        unix_sock_dir = "\(directory.path)"
        backend_socket_dir = "\(URL(fileURLWithPath: backend).deletingLastPathComponent().path)"
        log_outputs = "3:stderr"

        """)
      arguments = ["-f", configuration.path, "-p", directory.appendingPathComponent("pid").path]
    case .limit: arguments = [port, backend]
    case .haproxy, .haproxySplice:
      try write(
        """
        global
          nbthread 1
          maxconn 1000
          tune.bufsize 262144
        defaults
          mode tcp
          timeout connect 5s
          timeout client 1h
          timeout server 1h
        listen libvirt
          bind 127.0.0.1:\(port)
          \(self == .haproxySplice ? "option splice-auto" : "")
          server daemon unix@\(backend)

        """)
      arguments = ["-db", "-f", configuration.path]
    case .socat:
      arguments = [
        "-b", "262144", "TCP-LISTEN:\(port),bind=127.0.0.1,fork,reuseaddr,nodelay",
        "UNIX-CONNECT:\(backend)",
      ]
    }
    let place = Place.tcp(host: "127.0.0.1", port: port)
    return (try .serving(at: place, program, arguments, in: directory), place)
  }

  private static func find(_ name: String) -> String? {
    ["/usr/sbin/", "/usr/bin/", "/usr/local/sbin/", "/usr/local/bin/"].lazy
      .compactMap { executable($0 + name) }.first
  }

  private static func executable(_ path: String) -> String? {
    FileManager.default.isExecutableFile(atPath: path) ? path : nil
  }
}
