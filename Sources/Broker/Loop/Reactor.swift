// The only file that uses libev: the loop and its watchers.
import CLibev
import Glibc
import Streams

/// The kernel's clocks. They are read only here, because libev's header makes the C library's `timespec` its own.
enum Clock {
  case monotonic
  /// The monotonic clock at the last tick of the kernel; cheaper to read.
  case coarse
  /// Since 1970. It can be set.
  case wall
  /// Since the machine started, including the time that it slept.
  case sinceBoot

  var seconds: Double {
    let time = time
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// Whole seconds, and the remaining nanoseconds.
  var parts: (seconds: Int, nanoseconds: Int) {
    let time = time
    return (time.tv_sec, time.tv_nsec)
  }

  /// The time in `seconds` seconds, as a deadline for blocking calls.
  func time(in seconds: Int) -> timespec {
    var time = time
    time.tv_sec += seconds
    return time
  }

  private var time: timespec {
    let id =
      switch self {
      case .monotonic: CLOCK_MONOTONIC
      case .coarse: CLOCK_MONOTONIC_COARSE
      case .wall: CLOCK_REALTIME
      case .sinceBoot: CLOCK_BOOTTIME
      }
    var time = timespec()
    clock_gettime(id, &time)
    return time
  }
}

/// The callbacks of the loop. A class and not a protocol, so that a watcher can reach it from its raw pointer without
/// reference counting.
class Handler {
  /// The watched descriptor is ready.
  func ready(_ ready: Interest) {}
  /// The timer has fired.
  func timeUp() {}
  /// The turn that was requested with `continueSoon`.
  func again() {}
  fileprivate var continuesSoon = false

  /// Turns for which the handler still counts as one that moves bulk data.
  private var bulkTurns = 0
  /// Events that wait for a turn, because the handler moves bulk data.
  fileprivate var postponed: Interest = []
  fileprivate var isPostponed = false
  /// The loop that watches its descriptor.
  fileprivate unowned(unsafe) var reactor: Reactor?

  /// The handler moves so much that others go first.
  fileprivate var movesBulk: Bool { bulkTurns > 0 }

  /// A turn has moved this many bytes. One large turn counts for the next few, because a transfer has small turns too.
  final func noteMoved(_ bytes: UInt64) {
    if bytes >= Reactor.bulkBytes {
      bulkTurns = Reactor.bulkTurns
    } else if bulkTurns > 0 {
      bulkTurns -= 1
    }
  }
}

/// The event loop. The whole broker runs inside `run`, on the thread that called it.
///
/// Handlers that move bulk data have their turns after all others, the one that has waited longest first. Between two
/// polls of the descriptors they have `bulkSeconds` together, so a keystroke waits for that and the turn under way,
/// however many there are.
final class Reactor {
  /// A turn of this many bytes is one of a bulk transfer: few calls move so much, and each packet of 64 KiB does.
  fileprivate static let bulkBytes: UInt64 = 60_000
  fileprivate static let bulkTurns = 8
  /// Time for a few turns of transfers: the 256 KiB that bound a turn of an upload take 0.1 ms at 2.5 GiB/s. The turn in
  /// which it ends is the last.
  private static let bulkSeconds = 0.0005

  fileprivate let loop: OpaquePointer
  /// Handlers that have ended. They are released only when the turn ends, so that none is released in its own callback.
  private var ended: [AnyObject] = []
  private let endOfTurn: UnsafeMutablePointer<ev_prepare>
  /// Handlers with work left that no descriptor announces.
  private var unfinished: [Handler] = []
  /// Handlers of bulk data whose descriptors are ready, in the order in which they became so.
  private var postponed: [Handler] = []
  /// Counts the polls of the descriptors.
  private(set) var turn: UInt64 = 0
  /// While it is active, the loop polls the descriptors without blocking.
  private let haste: UnsafeMutablePointer<ev_idle>

  static var libraryVersion: String { "\(ev_version_major()).\(ev_version_minor())" }

  init() throws(BrokerFailure) {
    guard let loop = ev_loop_new(UInt32(EVFLAG_NOENV)) else {
      throw BrokerFailure(.noEventLoop)
    }
    self.loop = loop
    endOfTurn = .allocate(capacity: 1)
    endOfTurn.initialize(
      to: ev_prepare(
        active: 0, pending: 0, priority: 0, data: nil,
        cb: { _, watcher, _ in watcher.owner(Reactor.self) { $0.endTurn() } }))
    haste = .allocate(capacity: 1)
    haste.initialize(
      to: ev_idle(active: 0, pending: 0, priority: 0, data: nil, cb: { _, _, _ in }))
    endOfTurn.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    ev_prepare_start(loop, endOfTurn)
    ev_unref(loop)
  }

  deinit {
    ev_ref(loop)
    ev_prepare_stop(loop, endOfTurn)
    endOfTurn.deallocate()
    ev_idle_stop(loop, haste)
    haste.deallocate()
    ev_loop_destroy(loop)
  }

  /// Runs until `stop`.
  func run() {
    ev_ref(loop)
    ev_run(loop, 0)
    ev_unref(loop)
    unfinished.removeAll()
    postponed.removeAll()
    releaseEnded()
  }

  /// Releases handlers that ended when no further turn follows. Otherwise such a handler and the reactor would hold
  /// each other.
  func releaseEnded() { ended.removeAll() }

  func stop() { ev_break(loop, Int32(EVBREAK_ALL)) }

  /// Seconds on the monotonic clock, which libev's timers use as well.
  var now: Double { Clock.monotonic.seconds }

  /// Keeps `handler` alive until this turn ends.
  func releaseAfterTurn(_ handler: AnyObject) { ended.append(handler) }

  /// Gives `handler` another turn when all other ready handlers have had one.
  func continueSoon(_ handler: Handler) {
    guard !handler.continuesSoon else { return }
    handler.continuesSoon = true
    unfinished.append(handler)
  }

  /// Called between two polls of the descriptors.
  private func endTurn() {
    turn &+= 1
    if !postponed.isEmpty { runPostponed() }
    let count = unfinished.count
    if count > 0 {
      for index in 0..<count {
        let handler = unfinished[index]
        handler.continuesSoon = false
        handler.again()
      }
      unfinished.removeFirst(count)
    }
    if !ended.isEmpty { ended.removeAll(keepingCapacity: true) }
    if unfinished.isEmpty, postponed.isEmpty {
      ev_idle_stop(loop, haste)
    } else {
      ev_idle_start(loop, haste)
    }
  }

  /// The descriptor of a handler of bulk data is ready.
  fileprivate func postpone(_ handler: Handler, _ ready: Interest) {
    handler.postponed.formUnion(ready)
    guard !handler.isPostponed else { return }
    handler.isPostponed = true
    postponed.append(handler)
  }

  private func runPostponed() {
    let end = now + Reactor.bulkSeconds
    var count = 0
    repeat {
      let handler = postponed[count]
      count += 1
      handler.isPostponed = false
      let ready = handler.postponed
      handler.postponed = []
      if !ready.isEmpty { handler.ready(ready) }
    } while count < postponed.count && now < end
    postponed.removeFirst(count)
  }
}

extension UnsafeMutablePointer<ev_io>? {
  /// Calls `body` with the watcher's owner, at no reference-counting cost: the reactor releases
  /// handlers only at the end of a turn, so the owner lives as long as the callback runs.
  fileprivate func owner<Owner: AnyObject>(_: Owner.Type, _ body: (Owner) -> Void) {
    guard let data = self?.pointee.data else { return }
    Unmanaged<Owner>.fromOpaque(data)._withUnsafeGuaranteedRef(body)
  }
}

extension UnsafeMutablePointer<ev_timer>? {
  fileprivate func owner<Owner: AnyObject>(_: Owner.Type, _ body: (Owner) -> Void) {
    guard let data = self?.pointee.data else { return }
    Unmanaged<Owner>.fromOpaque(data)._withUnsafeGuaranteedRef(body)
  }
}

extension UnsafeMutablePointer<ev_prepare>? {
  fileprivate func owner<Owner: AnyObject>(_: Owner.Type, _ body: (Owner) -> Void) {
    guard let data = self?.pointee.data else { return }
    Unmanaged<Owner>.fromOpaque(data)._withUnsafeGuaranteedRef(body)
  }
}

/// Watches one descriptor for its owner, until the value is destroyed. A stopped watcher never calls back, not even for
/// an event already pending. Stop it before the descriptor is closed.
struct DescriptorWatcher: ~Copyable {
  let reactor: Reactor
  private let io: UnsafeMutablePointer<ev_io>
  private(set) var interest: Interest = []

  /// Calls no handler until `belong` is called.
  init(_ descriptor: Int32, on reactor: Reactor) {
    self.reactor = reactor
    io = .allocate(capacity: 1)  // libev keeps the address, so the watcher owns its memory
    io.initialize(
      to: ev_io(
        active: 0, pending: 0, priority: 0, data: nil,
        cb: { _, watcher, events in
          watcher.owner(Handler.self) { handler in
            var ready: Interest = []
            if events & Int32(EV_READ) != 0 { ready.insert(.read) }
            if events & Int32(EV_WRITE) != 0 { ready.insert(.write) }
            if handler.movesBulk, let reactor = handler.reactor {
              reactor.postpone(handler, ready)
            } else {
              handler.ready(ready)
            }
          }
        }, next: nil, fd: descriptor, events: Int32(EV__IOFDSET)))
  }

  deinit {
    ev_io_stop(reactor.loop, io)
    io.deallocate()
  }

  /// Sets the handler to call. The handler must own this watcher, so that the handler exists when it is called.
  func belong(to handler: Handler) {
    io.pointee.data = Unmanaged.passUnretained(handler).toOpaque()
    handler.reactor = reactor
  }

  /// Watches for `wanted` from now on. Costs nothing if that is already so.
  mutating func watch(_ wanted: Interest) {
    guard wanted != interest else { return }
    ev_io_stop(reactor.loop, io)
    interest = wanted
    Optional(io).owner(Handler.self) { $0.postponed.formIntersection(wanted) }
    var events = Int32(EV__IOFDSET)
    if wanted.contains(.read) { events |= Int32(EV_READ) }
    if wanted.contains(.write) { events |= Int32(EV_WRITE) }
    io.pointee.events = events
    if !wanted.isEmpty { ev_io_start(reactor.loop, io) }
  }
}

/// A timer for its owner.
struct TimerWatcher: ~Copyable {
  private let reactor: Reactor
  private let timer: UnsafeMutablePointer<ev_timer>

  init(on reactor: Reactor) {
    self.reactor = reactor
    timer = .allocate(capacity: 1)
    timer.initialize(
      to: ev_timer(
        active: 0, pending: 0, priority: 0, data: nil,
        cb: { _, watcher, _ in watcher.owner(Handler.self) { $0.timeUp() } }, at: 0, repeat: 0))
  }

  deinit {
    ev_timer_stop(reactor.loop, timer)
    timer.deallocate()
  }

  /// Sets the handler to call. The handler must own this watcher.
  func belong(to handler: Handler) {
    timer.pointee.data = Unmanaged.passUnretained(handler).toOpaque()
  }

  var isRunning: Bool { timer.pointee.active != 0 }

  /// Fires once, this many seconds from now.
  func start(seconds: Double) {
    ev_timer_stop(reactor.loop, timer)
    // libev counts from the time at which this turn began. This call makes both clocks equal.
    ev_now_update(reactor.loop)
    timer.pointee.at = seconds
    timer.pointee.repeat = 0
    ev_timer_start(reactor.loop, timer)
  }

  func stop() { ev_timer_stop(reactor.loop, timer) }
}

/// A timer that calls a closure, for owners that are no handlers.
final class Alarm: Handler {
  private let timer: TimerWatcher
  private let ring: () -> Void

  init(on reactor: Reactor, _ ring: @escaping () -> Void) {
    self.ring = ring
    timer = TimerWatcher(on: reactor)
    super.init()
    timer.belong(to: self)
  }

  override func timeUp() { ring() }
  var isRunning: Bool { timer.isRunning }
  func start(seconds: Double) { timer.start(seconds: seconds) }
  func stop() { timer.stop() }
}

/// Calls a closure for each arrival of a signal, on the loop's thread.
final class SignalWatcher {
  private let reactor: Reactor
  private let signal: UnsafeMutablePointer<ev_signal>
  private let received: () -> Void

  init(_ number: Int32, on reactor: Reactor, _ received: @escaping () -> Void) {
    self.reactor = reactor
    self.received = received
    signal = .allocate(capacity: 1)
    signal.initialize(
      to: ev_signal(
        active: 0, pending: 0, priority: 0, data: nil,
        cb: { _, watcher, _ in
          guard let data = watcher?.pointee.data else { return }
          Unmanaged<SignalWatcher>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.received() }
        }, next: nil, signum: number))
    signal.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    ev_signal_start(reactor.loop, signal)
    ev_unref(reactor.loop)
  }

  deinit {
    ev_ref(reactor.loop)
    ev_signal_stop(reactor.loop, signal)
    signal.deallocate()
  }
}

/// Calls a closure on the loop's thread after another thread has requested it. Other threads may call only `wake`.
final class Wakeup: @unchecked Sendable {
  private let reactor: Reactor
  private let async: UnsafeMutablePointer<ev_async>
  private let woken: () -> Void

  init(on reactor: Reactor, _ woken: @escaping () -> Void) {
    self.reactor = reactor
    self.woken = woken
    async = .allocate(capacity: 1)
    async.initialize(
      to: ev_async(
        active: 0, pending: 0, priority: 0, data: nil,
        cb: { _, watcher, _ in
          guard let data = watcher?.pointee.data else { return }
          Unmanaged<Wakeup>.fromOpaque(data)._withUnsafeGuaranteedRef { $0.woken() }
        }, sent: 0))
    async.pointee.data = Unmanaged.passUnretained(self).toOpaque()
    ev_async_start(reactor.loop, async)
    ev_unref(reactor.loop)
  }

  /// Any thread may call it as long as this object exists. Several calls may result in one callback.
  func wake() { ev_async_send(reactor.loop, async) }

  deinit {
    ev_ref(reactor.loop)
    ev_async_stop(reactor.loop, async)
    async.deallocate()
  }
}
