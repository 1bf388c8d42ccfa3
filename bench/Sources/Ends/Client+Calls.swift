// Small calls of a raw client: a number of concurrent calls, or calls at a rate, each timed.
import Glibc
import Streams

extension Client {
  /// The limit on concurrent calls.
  public static let deepest = 4096

  /// Keeps `depth` calls of CONNECT_GET_LIB_VERSION under way for `seconds` and passes each call's latency in
  /// nanoseconds to `answered`. A relay forwards this call, because only the daemon can answer it.
  public func callRepeatedly(
    depth: Int, seconds: Double, answered: (_ nanoseconds: UInt64) -> Void
  ) throws(EndFailure) {
    guard depth > 0, depth <= Self.deepest else {
      throw EndFailure("the depth must be 1 to \(Self.deepest)")
    }
    let sent = Moments()
    var time = now()
    let end = time + UInt64(seconds * 1e9)
    for _ in 0..<depth {
      let call = nextCall(Call.getLibVersion)
      sent[call.serial] = time
      try outflow.put(call)
    }
    try outflow.flush()
    var underWay = depth
    while underWay > 0 {
      guard let header = try inflow.header() else {
        throw EndFailure("the daemon closed the connection with calls under way")
      }
      try check(header)
      guard header.kind == .reply else { continue }
      time = now()
      answered(time - sent[header.serial])
      if time < end {
        let call = nextCall(Call.getLibVersion)
        sent[call.serial] = time
        try outflow.put(call)
      } else {
        underWay -= 1
      }
      // At the end of a batch of replies: send as many new calls together as were answered.
      if inflow.bodyLeft > 0 { _ = try inflow.body() }
      if !inflow.hasHeader { try outflow.flush() }
    }
  }

  /// Makes a call of CONNECT_GET_LIB_VERSION at each time of `schedule` for `seconds`, and passes the time from its
  /// scheduled time to its reply, in nanoseconds, to `answered`.
  ///
  /// The latency of a call that is sent late, because earlier replies were late, still counts from its scheduled
  /// time. Otherwise a stall would hide the calls that it delayed.
  public func call(
    at schedule: Schedule, seconds: Double, answered: (_ nanoseconds: UInt64) -> Void
  ) throws(EndFailure) {
    let timer = try Timer()
    let due = Moments()
    let end = schedule.start + UInt64(seconds * 1e9)
    var sent: UInt64 = 0
    var underWay = 0
    while true {
      let time = now()
      while underWay < Self.deepest, case let moment = schedule.moment(sent), moment <= time,
        moment < end
      {
        let call = nextCall(Call.getLibVersion)
        due[call.serial] = moment
        try outflow.put(call)
        sent += 1
        underWay += 1
      }
      let isSent = try outflow.flush(waiting: false)
      let next = schedule.moment(sent)
      if underWay == 0, next >= end { return }
      if try !inflow.receive() {
        timer.set(underWay < Self.deepest && next < end ? next : .max / 2)
        socket.wait(for: isSent ? POLLIN : POLLIN | POLLOUT, or: timer)
        continue
      }
      let arrival = now()
      while true {
        if inflow.bodyLeft > 0, inflow.bufferedPiece().isEmpty { break }
        if inflow.bodyLeft > 0 { continue }
        guard let header = try inflow.bufferedHeader() else { break }
        try check(header)
        guard header.kind == .reply else { continue }
        answered(arrival - due[header.serial])
        underWay -= 1
      }
    }
  }
}

/// Times at a fixed interval.
public struct Schedule: Sendable {
  let start: UInt64
  private let interval: Double

  /// Starts at `start` of the monotonic clock, in nanoseconds, with `rate` times in a second.
  public init(from start: UInt64 = now(), perSecond rate: Double) {
    self.start = start
    interval = 1e9 / rate
  }

  func moment(_ index: UInt64) -> UInt64 { start + UInt64(Double(index) * interval) }
}

/// When the call with each serial was sent or scheduled. Replies may overtake each other, but not by more than the
/// limit on concurrent calls.
private struct Moments: ~Copyable {
  private static let size: UInt32 = 1 << 16
  private let table = UnsafeMutablePointer<UInt64>.allocate(capacity: Int(size))
  init() { table.initialize(repeating: 0, count: Int(Self.size)) }
  deinit { table.deallocate() }
  subscript(serial: UInt32) -> UInt64 {
    get { table[Int(serial % Self.size)] }
    nonmutating set { table[Int(serial % Self.size)] = newValue }
  }
}
