// Streams of a raw client: several at a time on one connection, all one way.
import Glibc
import Streams

/// The volume that streams are opened on. The synthetic daemon takes any.
public struct Volume: Sendable {
  public var pool: String
  public var name: String
  public init(pool: String = "bench", name: String = "volume") {
    self.pool = pool
    self.name = name
  }
}

extension Client {
  /// Downloads `bytes` on each of `streams` streams at once; returns when all are confirmed.
  /// With `isChecking` everything that arrives is compared with the pattern.
  public func download(
    _ volume: Volume = Volume(), bytes: UInt64, streams: Int = 1, isChecking: Bool = false
  ) throws(EndFailure) {
    let first = try open(Remote.storageVolDownload, volume, bytes, streams)
    var positions = [UInt64](repeating: 0, count: streams)
    var unconfirmed = streams
    while unconfirmed > 0 {
      guard let header = try inflow.header() else {
        throw EndFailure("the daemon closed the connection in the middle of a download")
      }
      let (index, isBefore) = header.serial.subtractingReportingOverflow(first)
      guard !isBefore, index < streams else { continue }
      try check(header)
      guard header.kind == .stream else { continue }
      let stream = Int(index)
      if header.status == .ok {
        guard positions[stream] == bytes else {
          throw EndFailure("\(positions[stream]) bytes arrived instead of \(bytes)")
        }
        unconfirmed -= 1
      } else if inflow.bodyLeft == 0 {
        var finish = header
        finish.status = .ok
        try outflow.put(finish)
        try outflow.flush()
      } else {
        while case let piece = try inflow.piece(), !piece.isEmpty {
          if isChecking, !Pattern.matches(piece, at: positions[stream]) {
            throw EndFailure("wrong bytes at or after \(positions[stream]) of stream \(stream)")
          }
          positions[stream] += UInt64(piece.count)
        }
      }
    }
  }

  /// Uploads `bytes` of the pattern on each of `streams` streams at once, packets in turn; returns
  /// when the daemon has confirmed all of them.
  public func upload(_ volume: Volume = Volume(), bytes: UInt64, streams: Int = 1)
    throws(EndFailure)
  {
    let first = try open(Remote.storageVolUpload, volume, bytes, streams)
    // A client's packets for a stream are dropped until the daemon has opened it.
    for index in 0..<streams {
      var call = PacketHeader(procedure: Remote.storageVolUpload, kind: .call, serial: first)
      call.serial += UInt32(index)
      try awaitReply(to: call)
    }
    var header = PacketHeader(
      procedure: Remote.storageVolUpload, kind: .stream, serial: first, status: .continue)
    let packet = OutgoingPacket()
    var position: UInt64 = 0
    while position < bytes {
      let count = min(UInt64(Limits.usualPayload), bytes - position)
      for index in 0..<streams {
        header.serial = first + UInt32(index)
        packet.start(header, position: position, count: Int(count))
        while try !packet.send(to: socket) { _ = socket.wait(for: POLLOUT) }
      }
      position += count
    }
    header.status = .ok
    for index in 0..<streams {
      header.serial = first + UInt32(index)
      try outflow.put(header)
    }
    try outflow.flush()
    var unconfirmed = streams
    while unconfirmed > 0 {
      guard let header = try inflow.header() else {
        throw EndFailure("the daemon closed the connection before it confirmed an upload")
      }
      guard header.kind == .stream, header.serial &- first < streams else { continue }
      try check(header)
      unconfirmed -= 1
    }
  }

  /// Sends the calls that open the streams; the serial of the first. Serials follow each other.
  private func open(_ procedure: Int32, _ volume: Volume, _ bytes: UInt64, _ streams: Int)
    throws(EndFailure) -> UInt32
  {
    var first: UInt32?
    for _ in 0..<streams {
      let header = nextCall(procedure)
      first = first ?? header.serial
      try outflow.put(
        Packets.make(
          header,
          VolumeTransferArguments(
            pool: volume.pool, name: volume.name, key: volume.name, offset: 0, length: bytes,
            flags: 0)))
    }
    try outflow.flush()
    guard let first else { throw EndFailure("no stream was asked for") }
    return first
  }
}
