// Streams of a raw client: several concurrent streams on one connection, all in one direction.
import Glibc
import Streams

/// The volume that streams are opened on. The synthetic daemon accepts any name.
public struct Volume: Sendable {
  public var pool: String
  public var name: String
  public init(pool: String = "bench", name: String = "volume") {
    self.pool = pool
    self.name = name
  }
}

/// The kind and direction of streams.
public enum TransferKind: String, Sendable, Codable, CaseIterable {
  case download
  case upload
  /// A tunnelled migration, from the source of a guest to this daemon as its destination.
  case migration

  /// The default payload of a packet: libvirt's own size.
  public var usualMessage: Int { self == .migration ? 65_536 : Limits.usualPayload }
}

/// The transfers of one connection.
public struct Transfer: Sendable {
  public var kind: TransferKind
  public var volume = Volume()
  /// Bytes per stream. A transfer with a time limit moves less.
  public var bytes: UInt64
  public var streams = 1
  /// Bytes in a packet; nil means libvirt's own size. The sender of a download chooses it: the volume's name requests
  /// it from the synthetic daemon, a real daemon ignores it.
  public var message: Int?
  /// The transfer ends at this time of the monotonic clock, in nanoseconds, if not before.
  public var end: UInt64?
  /// Whether received bytes are compared with the pattern.
  public var isChecking = false

  /// The number of bytes in the largest possible packet.
  public static let largestMessage = OutgoingRun.largestMessage
  /// Enough for any transfer with a time limit.
  public static let endless: UInt64 = 1 << 50

  public init(_ kind: TransferKind, bytes: UInt64) {
    self.kind = kind
    self.bytes = bytes
  }
}

extension Client {
  /// Runs `transfer`. Returns the bytes moved by all its streams after all are confirmed.
  @discardableResult
  public func move(_ transfer: Transfer) throws(EndFailure) -> UInt64 {
    if let message = transfer.message, !(1...Transfer.largestMessage).contains(message) {
      throw EndFailure("a packet carries 1 to \(Transfer.largestMessage) bytes")
    }
    return transfer.kind == .download ? try receive(transfer) : try send(transfer)
  }

  /// Downloads `bytes` on each of `streams` concurrent streams; returns when all are confirmed. With `isChecking`
  /// received bytes are compared with the pattern.
  public func download(
    _ volume: Volume = Volume(), bytes: UInt64, streams: Int = 1, isChecking: Bool = false
  ) throws(EndFailure) {
    var transfer = Transfer(.download, bytes: bytes)
    transfer.volume = volume
    transfer.streams = streams
    transfer.isChecking = isChecking
    try move(transfer)
  }

  /// Uploads `bytes` of the pattern on each of `streams` concurrent streams, packets in turn; returns when the daemon
  /// has confirmed all.
  public func upload(_ volume: Volume = Volume(), bytes: UInt64, streams: Int = 1)
    throws(EndFailure)
  {
    var transfer = Transfer(.upload, bytes: bytes)
    transfer.volume = volume
    transfer.streams = streams
    try move(transfer)
  }

  private func receive(_ transfer: Transfer) throws(EndFailure) -> UInt64 {
    let streams = transfer.streams
    let first = try open(transfer)
    var positions = [UInt64](repeating: 0, count: streams)
    var isFinished = [Bool](repeating: false, count: streams)
    var unconfirmed = streams
    var isOver = false
    var packets = 0
    while unconfirmed > 0 {
      // With a source that is always ahead, there may always be a next header.
      packets &+= 1
      if !inflow.hasHeader || packets % 16 == 0, !isOver, let end = transfer.end, now() >= end {
        isOver = true
        for index in 0..<streams where !isFinished[index] {
          isFinished[index] = true
          try outflow.put(
            PacketHeader(
              procedure: transfer.kind.procedure, kind: .stream, serial: first + UInt32(index)))
        }
        try outflow.flush()
      }
      guard let header = try inflow.header() else {
        throw EndFailure("the daemon closed the connection in the middle of a download")
      }
      let (index, isBefore) = header.serial.subtractingReportingOverflow(first)
      guard !isBefore, index < streams else { continue }
      try check(header)
      guard header.kind == .stream else { continue }
      let stream = Int(index)
      if header.status == .ok {
        guard isOver || positions[stream] == transfer.bytes else {
          throw EndFailure("\(positions[stream]) bytes arrived instead of \(transfer.bytes)")
        }
        unconfirmed -= 1
      } else if inflow.bodyLeft == 0 {
        guard !isFinished[stream] else { continue }
        isFinished[stream] = true
        var finish = header
        finish.status = .ok
        try outflow.put(finish)
        try outflow.flush()
      } else {
        while case let piece = try inflow.piece(), !piece.isEmpty {
          if transfer.isChecking, !Pattern.matches(piece, at: positions[stream]) {
            throw EndFailure("wrong bytes at or after \(positions[stream]) of stream \(stream)")
          }
          positions[stream] += UInt64(piece.count)
        }
      }
    }
    return positions.reduce(0, +)
  }

  private func send(_ transfer: Transfer) throws(EndFailure) -> UInt64 {
    let streams = transfer.streams
    let procedure = transfer.kind.procedure
    let first = try open(transfer)
    // The daemon drops a client's stream packets until it has opened the stream.
    for index in 0..<streams {
      var call = PacketHeader(procedure: procedure, kind: .call, serial: first)
      call.serial += UInt32(index)
      try awaitReply(to: call)
    }
    var header = PacketHeader(
      procedure: procedure, kind: .stream, serial: first, status: .continue)
    let run = OutgoingRun()
    let message = transfer.message ?? transfer.kind.usualMessage
    var position: UInt64 = 0
    while position < transfer.bytes {
      if let end = transfer.end, now() >= end { break }
      var next = position
      for index in 0..<streams {
        header.serial = first + UInt32(index)
        next = run.start(header, from: position, to: transfer.bytes, message: message)
        _ = try run.send(to: socket, waiting: true)
      }
      position = next
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
    return position * UInt64(streams)
  }

  /// Sends the calls that open the streams and returns the serial of the first. The serials are consecutive.
  private func open(_ transfer: Transfer) throws(EndFailure) -> UInt32 {
    var first: UInt32?
    for _ in 0..<transfer.streams {
      let header = nextCall(transfer.kind.procedure)
      first = first ?? header.serial
      try outflow.put(opening(header, transfer))
    }
    try outflow.flush()
    guard let first else { throw EndFailure("no stream was asked for") }
    return first
  }

  /// The call that opens a stream of `transfer`.
  func opening(_ call: PacketHeader, _ transfer: Transfer) -> [UInt8] {
    if transfer.kind == .migration { return Packets.make(call, PrepareTunnelArguments()) }
    var volume = transfer.volume
    if transfer.kind == .download, let message = transfer.message {
      volume.name = "\(Endpoint.messagePrefix)\(message)"
    }
    return Packets.make(
      call,
      VolumeTransferArguments(
        pool: volume.pool, name: volume.name, key: volume.name, offset: 0, length: transfer.bytes,
        flags: 0))
  }
}

extension TransferKind {
  /// The procedure of the call that opens such a stream.
  var procedure: Int32 {
    switch self {
    case .download: Remote.storageVolDownload
    case .upload: Remote.storageVolUpload
    case .migration: Call.migratePrepareTunnel3Params
    }
  }
}
