// Small calls of a raw client: so many under way at a time, each timed.
import Glibc
import Streams

/// The monotonic clock, in nanoseconds.
public func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

extension Client {
  /// Keeps `depth` calls of CONNECT_GET_LIB_VERSION under way for `seconds` and tells `answered`
  /// how long each took, in nanoseconds. A relay passes this call on: only the daemon can answer it.
  public func callRepeatedly(
    depth: Int, seconds: Double, answered: (_ nanoseconds: UInt64) -> Void
  ) throws(EndFailure) {
    /// When the call with the serial was sent, at serial modulo size. Replies may overtake each
    /// other; one that lets more than the whole table pass has no time left.
    let size: UInt32 = 1 << 16
    guard depth > 0, depth <= 4096 else { throw EndFailure("the depth must be 1 to 4096") }
    var sent = [UInt64](repeating: 0, count: Int(size))
    let getLibVersion: Int32 = 157

    var time = now()
    let end = time + UInt64(seconds * 1e9)
    for _ in 0..<depth {
      let call = nextCall(getLibVersion)
      sent[Int(call.serial % size)] = time
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
      answered(time - sent[Int(header.serial % size)])
      if time < end {
        let call = nextCall(getLibVersion)
        sent[Int(call.serial % size)] = time
        try outflow.put(call)
      } else {
        underWay -= 1
      }
      // The last of a batch: what was answered so far lets as many new calls leave together.
      if inflow.bodyLeft > 0 { _ = try inflow.body() }
      if !inflow.hasHeader { try outflow.flush() }
    }
  }
}
