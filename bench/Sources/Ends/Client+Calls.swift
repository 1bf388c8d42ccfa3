// Small calls of a raw client: so many under way at a time, or so many a second, each timed.
import Glibc
import Streams

extension Client {
  /// The most calls that may be under way at a time.
  public static let deepest = 4096

  /// Keeps `depth` calls of CONNECT_GET_LIB_VERSION under way for `seconds` and tells `answered`
  /// how long each took, in nanoseconds. A relay passes this call on: only the daemon can answer it.
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
      // The last of a batch: what was answered so far lets as many new calls leave together.
      if inflow.bodyLeft > 0 { _ = try inflow.body() }
      if !inflow.hasHeader { try outflow.flush() }
    }
  }

  /// Intends a call of CONNECT_GET_LIB_VERSION at `schedule`'s moments for `seconds`, and tells
  /// `answered` how long after its moment each was answered, in nanoseconds.
  ///
  /// A call that leaves late, because the answers before it were late, has waited all the same: its
  /// time counts from the moment it was due. Otherwise a stall would hide the calls it held up.
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

/// Moments at a fixed distance.
public struct Schedule: Sendable {
  let start: UInt64
  private let interval: Double

  /// The first moment is `start` of the monotonic clock, in nanoseconds, and `rate` follow in a second.
  public init(from start: UInt64 = now(), perSecond rate: Double) {
    self.start = start
    interval = 1e9 / rate
  }

  func moment(_ index: UInt64) -> UInt64 { start + UInt64(Double(index) * interval) }
}

/// When the call with a serial was sent or due. Replies may overtake each other, but never by more
/// than all that can be under way.
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
