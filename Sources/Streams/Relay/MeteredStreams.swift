// The streams of one client that have a rate.

/// Streams by number (`Call.metered`). `count` of the places are used. Owned by the relay.
struct MeteredStreams {
  private var streams: [MeteredStream?] = []
  private(set) var count = 0
  /// More than the high watermark is queued for the daemons.
  var isAboveWatermark = false

  var isEmpty: Bool { count == 0 }
  var numbers: Range<Int> { streams.indices }

  /// The stream with a number; nil: there is none. A call without a rate has -1.
  subscript(number: Int) -> MeteredStream? {
    streams.indices.contains(number) ? streams[number] : nil
  }

  /// Adds a stream with the first free number. Returns the number.
  mutating func add(_ stream: MeteredStream) -> Int {
    count += 1
    if let free = streams.firstIndex(where: { $0 == nil }) {
      streams[free] = stream
      return free
    }
    streams.append(stream)
    return streams.count - 1
  }

  /// Adds a number behind the others, with a stream or free.
  mutating func append(_ stream: MeteredStream) {
    streams.append(stream)
    count += 1
  }
  mutating func addVacant() { streams.append(nil) }

  mutating func remove(_ number: Int) {
    guard self[number] != nil else { return }
    streams[number] = nil
    count -= 1
  }

  /// Removes the streams of an upstream.
  mutating func removeAll(of slot: Int) {
    guard !isEmpty else { return }
    for number in numbers where streams[number]?.slot == slot { remove(number) }
  }

  mutating func removeAll() {
    streams = []
    count = 0
  }

  /// Bytes queued for the daemons.
  private var bytesUp: Int { streams.reduce(0) { $0 + ($1?.bytesUp ?? 0) } }

  /// Bytes that came from an upstream and are queued for the client.
  func bytesDown(from slot: Int) -> Int {
    guard !isEmpty else { return 0 }
    return streams.reduce(0) { sum, stream in
      guard let stream, stream.slot == slot else { return sum }
      return sum + stream.bytesDown
    }
  }

  /// Compares what is queued for the daemons with the watermarks.
  mutating func updateBackpressure(_ watermarks: Watermarks) {
    guard isAboveWatermark || !isEmpty else { return }
    isAboveWatermark = watermarks.isExceeded(by: bytesUp, wasExceeded: isAboveWatermark)
  }

  /// When the next packet that waits for its rate may be sent; nil: none waits.
  func nextTime(after now: Double) -> Double? {
    guard !isEmpty else { return nil }
    var next = Double.infinity
    for case let stream? in streams {
      for sendQueue in [stream.up, stream.down] {
        guard let sendQueue, let time = sendQueue.waitsUntil(now) else { continue }
        next = min(next, time)
      }
    }
    return next.isFinite ? next : nil
  }
}
