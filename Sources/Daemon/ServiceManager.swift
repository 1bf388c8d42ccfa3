// Notifications to systemd while the daemon runs: datagrams to the socket that systemd has named.
import Broker
@preconcurrency import Glibc
import Streams

/// The service manager that has started this process and expects notifications. Sending never blocks.
final class ServiceManager {
  static let variables = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]
  /// Delay that combines several changes of the number of clients into one notification.
  private static let statusSeconds = 1.0

  private let descriptor: CInt
  private let address: UnixAddress
  /// The time within which systemd expects a watchdog notification, in seconds.
  private let watchdogSeconds: Double?
  private var watchdog: BrokerTimer?
  private var status: BrokerTimer?
  private var statusIsDue = false

  /// Nil: no service manager expects notifications, or its socket cannot be used.
  init?(environment: [String: String], process: pid_t, log: BrokerLog) {
    guard let path = environment["NOTIFY_SOCKET"] else { return nil }
    guard path.hasPrefix("/") || path.hasPrefix("@"), let address = UnixAddress(path) else {
      log.write(.invalidNotifySocket, [path])
      return nil
    }
    let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else {
      log.write(.cannotCreateNotifySocket, [reason()])
      return nil
    }
    self.address = address
    self.descriptor = descriptor
    watchdogSeconds = ServiceManager.watchdogSeconds(environment, process, log)
  }

  deinit { close(descriptor) }

  /// The watchdog's time in seconds, if it is for this process.
  static func watchdogSeconds(
    _ environment: [String: String], _ process: pid_t, _ log: BrokerLog
  ) -> Double? {
    guard let text = environment["WATCHDOG_USEC"] else { return nil }
    if let other = environment["WATCHDOG_PID"], other != "\(process)" { return nil }
    guard let microseconds = UInt64(text), microseconds > 0 else {
      log.write(.invalidWatchdogTime, [text])
      return nil
    }
    return Double(microseconds) / 1e6
  }

  // MARK: Notifications

  /// Notifies systemd that the broker serves, and from then on of the number of clients and for the watchdog.
  func watch(_ broker: Broker) {
    watchdog = broker.timer { [unowned self] in showLife() }
    // The timers run only on the broker's loop, so the broker exists when they call.
    status = broker.timer { [unowned self, unowned broker] in tellStatus(broker) }
    broker.clientsChanged = { [unowned self] in clientsChanged() }
    broker.drainBegins = { [unowned self, unowned broker] in tell(ServiceManager.status(broker)) }
    broker.stopBegins = { [unowned self] in tell("STOPPING=1", "STATUS=stopping") }
    tell("READY=1", ServiceManager.status(broker))
    showLife()
  }

  func reloading() { tell("RELOADING=1", "MONOTONIC_USEC=\(monotonicMicroseconds())") }
  func reloaded(_ broker: Broker) { tell("READY=1", ServiceManager.status(broker)) }

  /// Twice within the watchdog's time, so that a late notification does no harm.
  private func showLife() {
    guard let watchdogSeconds else { return }
    tell("WATCHDOG=1")
    watchdog?.start(seconds: watchdogSeconds / 2)
  }

  private func clientsChanged() {
    guard !statusIsDue else { return }
    statusIsDue = true
    status?.start(seconds: ServiceManager.statusSeconds)
  }

  private func tellStatus(_ broker: Broker) {
    statusIsDue = false
    tell(ServiceManager.status(broker))
  }

  private static func status(_ broker: Broker) -> String {
    "STATUS=\(broker.isDraining ? "draining: " : "")\(counted(broker.clientCount, "client")) connected"
  }

  private func tell(_ lines: String...) {
    let bytes = Array(lines.joined(separator: "\n").utf8)
    _ = address.withPointer {
      sendto(
        descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL), $0, $1
      )
    }
  }
}

private func monotonicMicroseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000 + UInt64(time.tv_nsec) / 1000
}
