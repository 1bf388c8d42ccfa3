// The bounds of one relay.

/// Limits on one client's calls and queued data.
struct RelayLimits {
  let watermarks: Watermarks
  /// Packets of up to this many bytes are forwarded whole, larger ones in parts as they arrive.
  let largestWhole: Int
  /// The most calls of the client that may await their replies at a time.
  var maxRequests: Int
}
