// The metrics over HTTP. The only file that uses libmicrohttpd, which the loop drives by its epoll descriptor.
import CMicrohttpd
import Glibc
import Streams

/// Answers GET /metrics on one socket.
final class MetricsServer: Handler {
  /// Bytes of memory per connection: scrapers are few.
  private static let memory = 32 * 1024

  private unowned let broker: Broker
  private let path: String?
  private let account: ServiceAccount?
  let name: String
  private var daemon: OpaquePointer?
  private var watcher: DescriptorWatcher
  private let timer: TimerWatcher
  private let connections: ScrapeConnections

  /// - Throws: `BrokerFailure` with the address that cannot be used and the reason.
  static func open(
    _ address: ListenerSettings.Address, broker: Broker
  ) throws(BrokerFailure) -> [MetricsServer] {
    switch address {
    case .unix(let path, let mode, let group):
      let socket = try Listener.bindUNIX(
        path, mode: mode, group: group, backlog: 16, for: broker.settings.account)
      return [try MetricsServer(socket, name: path, path: path, broker: broker)]
    case .tcp(let host, let port):
      var servers: [MetricsServer] = []
      for address in try Address.resolve(host: host, port: port) {
        guard let socket = try Listener.bindTCP(address, backlog: 16) else { continue }
        let name = Address.local(of: socket.number)?.text ?? address.text
        servers.append(try MetricsServer(socket, name: name, path: nil, broker: broker))
      }
      guard !servers.isEmpty else {
        throw BrokerFailure(.noMetricsAddress, [host ?? "*", port])
      }
      return servers
    case .activated(let descriptor, let name, let path):
      let socket = Descriptor(fcntl(descriptor, F_DUPFD_CLOEXEC, 0))
      return [try MetricsServer(socket, name: name, path: path, broker: broker)]
    }
  }

  static var libraryVersion: String { String(cString: MHD_get_version()) }

  private init(
    _ socket: consuming Descriptor, name: String, path: String?, broker: Broker
  ) throws(BrokerFailure) {
    self.broker = broker
    self.name = name
    self.path = path
    account = broker.settings.account
    // The library closes the descriptor that it gets.
    let listening = fcntl(socket.number, F_DUPFD_CLOEXEC, 0)
    let connections = ScrapeConnections(on: broker.reactor)
    self.connections = connections
    daemon = http_start(
      listening, 2 * UInt32(ScrapeConnections.most), UInt32(ScrapeConnections.seconds),
      MetricsServer.memory,
      { context, connection, url, method, _, _, _, _ in
        guard let context, let connection, let url, let method else { return .NO }
        return Unmanaged<Broker>.fromOpaque(context)._withUnsafeGuaranteedRef {
          MetricsServer.answer(
            connection, String(cString: method), String(cString: url), of: $0)
        }
      }, Unmanaged.passUnretained(broker).toOpaque(),
      { context, connection, _, change in
        guard let context, let connection else { return }
        let descriptor = http_connection_descriptor(connection)
        Unmanaged<ScrapeConnections>.fromOpaque(context)._withUnsafeGuaranteedRef {
          if http_has_started(change) != 0 {
            $0.began(descriptor)
          } else {
            $0.ended(descriptor)
          }
        }
      }, Unmanaged.passUnretained(connections).toOpaque())
    guard let daemon else {
      close(listening)
      throw BrokerFailure(.cannotServeMetrics, [name])
    }
    watcher = DescriptorWatcher(http_descriptor(daemon), on: broker.reactor)
    timer = TimerWatcher(on: broker.reactor)
    super.init()
    watcher.belong(to: self)
    timer.belong(to: self)
    watcher.watch(.read)
  }

  deinit {
    watcher.watch([])
    if let daemon { MHD_stop_daemon(daemon) }
    if let path { Listener.remove(path, for: account) }
  }

  override func ready(_ ready: Interest) { turn() }
  override func timeUp() { turn() }

  private func turn() {
    guard let daemon else { return }
    connections.endOverdue()
    MHD_run(daemon)
    var milliseconds: UInt64 = 0
    var seconds = connections.secondsLeft
    if MHD_get_timeout(daemon, &milliseconds) == .YES {
      seconds = min(seconds, Double(milliseconds) / 1000)
    }
    if seconds.isFinite { timer.start(seconds: seconds) } else { timer.stop() }
  }

  private static func answer(
    _ connection: OpaquePointer, _ method: String, _ url: String, of broker: Broker
  ) -> MHD_Result {
    guard method == "GET" || method == "HEAD" else {
      let text = Message(.metricsMethodNotAllowed).text
      return send(connection, 405, "\(text)\n", allow: true)
    }
    guard url == "/metrics" else {
      return send(connection, 404, "\(Message(.metricsPathNotFound).text)\n")
    }
    return send(
      connection, 200, broker.metrics, type: "text/plain; version=0.0.4; charset=utf-8")
  }

  private static func send(
    _ connection: OpaquePointer, _ status: UInt32, _ text: String,
    type: String = "text/plain; charset=utf-8", allow: Bool = false
  ) -> MHD_Result {
    var text = text
    let response = text.withUTF8 {
      MHD_create_response_from_buffer(
        $0.count, UnsafeMutableRawPointer(mutating: $0.baseAddress), .RESPMEM_MUST_COPY)
    }
    guard let response else { return .NO }
    defer { MHD_destroy_response(response) }
    MHD_add_response_header(response, "Content-Type", type)
    // A connection kept open until the next scrape would only count against the limit of open connections.
    MHD_add_response_header(response, "Connection", "close")
    if allow { MHD_add_response_header(response, "Allow", "GET, HEAD") }
    return MHD_queue_response(connection, status, response)
  }
}

/// The connections that are open for scrapes. A slow one, by accident or on purpose, does not block others: at the
/// limit the oldest is closed, and each has a time limit.
private final class ScrapeConnections {
  static let most = 16
  static let seconds = 10.0

  private let reactor: Reactor
  private var open: [(descriptor: Int32, until: Double)] = []

  init(on reactor: Reactor) { self.reactor = reactor }

  func began(_ descriptor: Int32) {
    if open.count >= ScrapeConnections.most { end(open.removeFirst().descriptor) }
    open.append((descriptor, reactor.now + ScrapeConnections.seconds))
  }

  func ended(_ descriptor: Int32) { open.removeAll { $0.descriptor == descriptor } }

  func endOverdue() {
    while let first = open.first, first.until <= reactor.now {
      end(first.descriptor)
      open.removeFirst()
    }
  }

  /// Seconds until the next connection is overdue.
  var secondsLeft: Double { open.first.map { max(0.01, $0.until - reactor.now) } ?? .infinity }

  /// The library detects the end of the connection, and closes it.
  private func end(_ descriptor: Int32) { shutdown(descriptor, Int32(SHUT_RDWR)) }
}
