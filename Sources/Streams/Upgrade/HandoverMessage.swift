// The encoding of the messages of a handover.

extension HandoverMessage {
  /// The longest reason of a refusal, in bytes.
  private static let longestReason = 4096
  /// The longest message, in bytes.
  public static let longest = longestReason + 64

  public var bytes: [UInt8] {
    var coder = SnapshotCoder()
    var message = self
    // Writing does not fail.
    try? message.code(&coder)
    return coder.bytes
  }

  public init(_ bytes: [UInt8]) throws(Violation) {
    self = .ready
    var coder = SnapshotCoder(reading: bytes, descriptors: [])
    try code(&coder)
    guard coder.remaining == 0 else {
      throw Violation(.snapshotValueInvalid, ["\(coder.remaining) more bytes", "a message"])
    }
  }

  private mutating func code(_ coder: inout SnapshotCoder) throws(Violation) {
    var (kind, number, last): (UInt8, UInt32, UInt32) = (0, 0, 0)
    var reason = ""
    switch self {
    case .hello(let versions): (kind, number, last) = (1, versions.lowerBound, versions.upperBound)
    case .snapshot(let batches): (kind, number) = (2, UInt32(clamping: batches))
    case .descriptors(let batch): (kind, number) = (3, UInt32(clamping: batch))
    case .received(let batch): (kind, number) = (4, UInt32(clamping: batch))
    case .ready: kind = 5
    case .refused(let text): (kind, reason) = (6, text)
    case .commit: kind = 7
    }
    if reason.utf8.count > HandoverMessage.longestReason {
      reason = String(decoding: reason.utf8.prefix(HandoverMessage.longestReason), as: UTF8.self)
    }
    try coder.code(&kind, in: 1...7)
    try coder.code(&number)
    try coder.code(&last)
    try coder.code(&reason)
    guard coder.isReading else { return }
    switch kind {
    case 1:
      guard number <= last else { throw Violation(.snapshotValueInvalid, [number, "versions"]) }
      self = .hello(number...last)
    case 2: self = .snapshot(batches: Int(number))
    case 3: self = .descriptors(Int(number))
    case 4: self = .received(Int(number))
    case 5: self = .ready
    case 6: self = .refused(reason)
    default: self = .commit
    }
  }
}
