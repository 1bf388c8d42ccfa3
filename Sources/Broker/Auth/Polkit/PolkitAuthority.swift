// Checks with polkit over the system bus, without blocking.
import CSystemD
import Glibc
import Streams

/// The connection to the system bus, on the loop. The first check opens it, and the next check opens it again after it
/// was lost.
final class PolkitAuthority: Handler {
  /// A check under way; its caller can cancel it with this.
  struct Check: Equatable {
    fileprivate let number: UInt64

    /// The cancellation ID for polkit. polkit distinguishes the IDs of different connections.
    fileprivate var name: String { "virtbroker-\(number)" }
  }

  /// A user may have to type a password. After this the client is refused.
  private static let answerSeconds: UInt64 = 300

  private let reactor: Reactor
  private let log: BrokerLog
  private var bus: OpaquePointer?
  private var watcher: DescriptorWatcher?
  private let timer: TimerWatcher
  /// Completions, by the number of the check.
  private var askers: [UInt64: (PolkitResult) -> Void] = [:]
  /// Checks on this bus, by the number of the bus message.
  private var checks: [UInt64: Check] = [:]
  private var lastCheck: UInt64 = 0
  /// Results are read while the bus is processed, and reported afterwards.
  private var results: [(Check, PolkitResult)] = []

  init(on reactor: Reactor, log: BrokerLog) {
    self.reactor = reactor
    self.log = log
    timer = TimerWatcher(on: reactor)
    super.init()
    timer.belong(to: self)
  }

  deinit {
    watcher?.watch([])
    sd_bus_close_unref(bus)
  }

  // MARK: Checks

  /// Checks whether the subject may perform the action. Calls `completion` later, never before this returns.
  func check(
    _ subject: PolkitSubject, action: String, completion: @escaping (PolkitResult) -> Void
  ) -> Check {
    lastCheck += 1
    let check = Check(number: lastCheck)
    askers[check.number] = completion
    let status = connected() ?? ask(check, subject, action)
    if status < 0 {
      results.append((check, .failed(Message(.systemBusNotReached, [errorText(-status)]))))
    }
    // Report it after this call: the caller does not have the check yet.
    timer.start(seconds: 0)
    return check
  }

  /// Cancels a check: its result is not reported, and polkit closes the dialog that it has opened.
  func cancel(_ check: Check) {
    guard askers.removeValue(forKey: check.number) != nil, bus != nil else { return }
    guard let message = message("CancelCheckAuthorization", { $0.append(check.name) }) else {
      return
    }
    sd_bus_message_set_expect_reply(message, 0)
    sd_bus_send(bus, message, nil)
    sd_bus_message_unref(message)
    timer.start(seconds: 0)
  }

  /// Sends the request. Below zero: the errno of the failure.
  private func ask(_ check: Check, _ subject: PolkitSubject, _ action: String) -> Int32 {
    let made = message("CheckAuthorization") { message in
      message.inside("r", "sa{sv}") { message in
        message.append("unix-process")
        message.inside("a", "{sv}") { message in
          message.entry("pid", "u", UInt32(clamping: subject.pid))
          message.entry("start-time", "t", subject.startTime)
          message.entry("uid", "i", Int32(bitPattern: subject.uid))
        }
      }
      message.append(action)
      message.inside("a", "{ss}") { _ in }
      // Flag AllowUserInteraction: polkit may ask the user at the client's machine for a password.
      message.append("u", UInt32(1))
      message.append(check.name)
    }
    guard let made else { return -EIO }
    defer { sd_bus_message_unref(made) }
    // The bus is released before its owner, so no callback outlives the owner.
    let status = sd_bus_call_async(
      bus, nil, made,
      { reply, data, _ in
        guard let data else { return 0 }
        Unmanaged<PolkitAuthority>.fromOpaque(data)._withUnsafeGuaranteedRef {
          $0.answered(reply)
        }
        return 0
      }, Unmanaged.passUnretained(self).toOpaque(), PolkitAuthority.answerSeconds * 1_000_000)
    guard status >= 0 else { return status }
    var number: UInt64 = 0
    guard sd_bus_message_get_cookie(made, &number) >= 0 else { return -EIO }
    checks[number] = check
    return 0
  }

  private func message(_ method: String, _ fill: (inout BusMessage) -> Void) -> OpaquePointer? {
    var made: OpaquePointer?
    let status = sd_bus_message_new_method_call(
      bus, &made, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
      "org.freedesktop.PolicyKit1.Authority", method)
    guard status >= 0, let made else { return nil }
    var message = BusMessage(made)
    fill(&message)
    if message.status >= 0 { return made }
    sd_bus_message_unref(made)
    return nil
  }

  private func answered(_ reply: OpaquePointer?) {
    var number: UInt64 = 0
    guard sd_bus_message_get_reply_cookie(reply, &number) >= 0,
      let check = checks.removeValue(forKey: number)
    else { return }
    guard let error = sd_bus_message_get_error(reply) else {
      return results.append((check, BusMessage.result(of: reply)))
    }
    let words = error.pointee.message.map { String(cString: $0) } ?? "no reason given"
    let name = error.pointee.name.map { String(cString: $0) } ?? "unnamed error"
    results.append((check, .failed(Message(.polkitError, [name, words]))))
  }

  // MARK: The bus

  /// Opens the bus if it is not open. Below zero: the errno of the failure.
  private func connected() -> Int32? {
    guard bus == nil else { return nil }
    var made: OpaquePointer?
    // Only starts to connect; the rest follows as the socket becomes ready.
    let status = sd_bus_open_system(&made)
    guard status >= 0, let made else { return min(status, -EIO) }
    let descriptor = sd_bus_get_fd(made)
    guard descriptor >= 0 else {
      sd_bus_close_unref(made)
      return descriptor
    }
    bus = made
    var watcher = DescriptorWatcher(descriptor, on: reactor)
    watcher.belong(to: self)
    watcher.watch(.read)
    self.watcher = consume watcher
    return nil
  }

  override func ready(_ ready: Interest) { work() }
  override func timeUp() { work() }

  /// Processes the bus, reports the results, and watches for what comes next.
  private func work() {
    if bus != nil {
      var status: Int32 = 1
      while status > 0 { status = sd_bus_process(bus, nil) }
      if status < 0 { lose(errorText(-status)) }
    }
    watch()
    let answers = results
    results = []
    for (check, result) in answers { askers.removeValue(forKey: check.number)?(result) }
  }

  private func watch() {
    guard let bus else { return }
    let events = sd_bus_get_events(bus)
    var interest: Interest = []
    if events & POLLIN != 0 { interest.insert(.read) }
    if events & POLLOUT != 0 { interest.insert(.write) }
    watcher?.watch(interest)
    var until: UInt64 = .max
    guard sd_bus_get_timeout(bus, &until) >= 0, until != .max else { return }
    timer.start(seconds: max(0, Double(until) / 1e6 - reactor.now))
  }

  private func lose(_ reason: String) {
    let error = Message(.systemBusLost, [reason])
    log.write(error)
    watcher?.watch([])
    watcher = nil
    sd_bus_close_unref(bus)
    bus = nil
    for check in checks.values { results.append((check, .failed(error))) }
    checks = [:]
  }
}
