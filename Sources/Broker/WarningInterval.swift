// Limits warnings about a lasting state.

/// Limits a warning to one per minute: at a limit each client that leaves makes room for the next, which reaches the
/// limit again.
struct WarningInterval {
  private static let seconds = 60.0
  private var warnedAt = -Double.infinity

  /// True if the warning is due; it then counts as written. `now` is the loop's clock in seconds.
  mutating func takeDue(at now: Double) -> Bool {
    guard now - warnedAt > WarningInterval.seconds else { return false }
    warnedAt = now
    return true
  }
}
