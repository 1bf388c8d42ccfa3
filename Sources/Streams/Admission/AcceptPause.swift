// What a broker does that has run out of descriptors.

/// Whether connections are accepted. While the kernel has no descriptor or memory for another one they are left in the
/// kernel's queue, since trying again at once would only spin.
public struct AcceptPause: Sendable {
  /// Accepting is tried again after this time, if no client has left before.
  public static let pauseSeconds = 5.0
  /// The same after a connection was dropped for that: it is closed by then.
  public static let shedPauseSeconds = 0.1

  public private(set) var isPaused = false

  public init() {}

  /// The kernel could not accept a connection. One that waits or has not logged in makes room, so that root is not kept
  /// out by these.
  /// - Returns: what admission does for that, and in how many seconds to resume.
  public mutating func failed(
    _ admission: inout Admission, at now: Double
  ) -> ([Admission.Action], seconds: Double) {
    isPaused = true
    let actions = admission.shed(at: now)
    return (actions, actions.isEmpty ? AcceptPause.pauseSeconds : AcceptPause.shedPauseSeconds)
  }

  /// A client has left, or the time is up.
  public mutating func resume() { isPaused = false }
}
