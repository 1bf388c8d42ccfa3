// Streams between the synthetic ends, as between a real client and a real daemon.
import Foundation
import Streams
import Testing

@testable import Ends

@Suite("Streams between the synthetic ends")
struct StreamTests {
  static let sizes: [UInt64] = [1, 24, 262_119, 262_120, 262_121, 262_144, 262_145, 5_000_001]

  @Test("a download arrives complete, on one stream and on several", arguments: sizes, [1, 3])
  func download(bytes: UInt64, streams: Int) throws {
    let client = try Stage().client()
    try client.download(bytes: bytes, streams: streams, isChecking: true)
    try client.close()
  }

  @Test("an upload arrives complete, on one stream and on several", arguments: sizes + [0], [1, 3])
  func upload(bytes: UInt64, streams: Int) throws {
    let client = try Stage().client()
    try client.upload(bytes: bytes, streams: streams)
    try client.close()
  }

  @Test("both arrive complete through the C relay, repeatedly on one connection")
  func relayed() throws {
    let stage = try Stage(relayed: true)
    let client = try stage.client()
    for bytes in Self.sizes {
      try client.download(bytes: bytes, streams: 2, isChecking: true)
      try client.upload(bytes: bytes, streams: 2)
    }
    try client.close()
  }

  static let messageSizes = [1, 7, 64, 1024, 65_536, 262_136, 262_137, 1 << 20, 5_000_001]

  @Test(
    "with any packet size, everything arrives complete in both directions", arguments: messageSizes)
  func messages(size: Int) throws {
    let client = try Stage().client()
    for kind in TransferKind.allCases {
      var transfer = Transfer(kind, bytes: min(UInt64(size) * 3000, 5_000_001))
      transfer.streams = 2
      transfer.message = size
      transfer.isChecking = true
      #expect(try client.move(transfer) == transfer.bytes * 2)
    }
    try client.close()
  }

  @Test("a download arrives in packets of the requested size", arguments: [64, 1 << 20])
  func asked(size: Int) throws {
    // Requested by the volume's name, and by the daemon's own setting.
    for name in ["message=\(size)", "volume"] {
      let client = try Stage(message: name == "volume" ? size : nil).client()
      let call = client.nextCall(Remote.storageVolDownload)
      let arguments = VolumeTransferArguments(
        pool: "", name: name, key: "", offset: 0, length: UInt64(size) * 5 / 2, flags: 0)
      try client.outflow.put(Packets.make(call, arguments))
      try client.outflow.flush()
      var sizes: [Int] = []
      while sizes.last != 0, let header = try client.inflow.header() {
        if header.kind == .stream { sizes.append(header.payloadLength) }
      }
      #expect(sizes == [size, size, size / 2, 0])
    }
  }

  @Test("an impossible packet size is refused")
  func impossible() throws {
    let client = try Stage().client()
    for size in [0, -1, Transfer.largestMessage + 1] {
      var transfer = Transfer(.upload, bytes: 1)
      transfer.message = size
      #expect(throws: EndFailure.self) { try client.move(transfer) }
      #expect(throws: EndFailure.self) { try Stage(message: size) }
    }
    var transfer = Transfer(.upload, bytes: UInt64(Transfer.largestMessage))
    transfer.message = Transfer.largestMessage
    try client.move(transfer)
  }

  @Test(
    "a transfer ends at its time limit, and the connection remains usable",
    arguments: TransferKind.allCases)
  func clock(kind: TransferKind) throws {
    let client = try Stage().client()
    for _ in 0..<3 {
      var transfer = Transfer(kind, bytes: Transfer.endless)
      transfer.streams = 2
      transfer.isChecking = true
      let start = now()
      transfer.end = start + 50_000_000
      #expect(try client.move(transfer) > 0)
      #expect(now() - start >= 50_000_000)
    }
    try client.download(bytes: 1_000_000, isChecking: true)
    try client.close()
  }

  @Test("a length of 0 means the whole volume", arguments: [UInt64(0), 1, 1_000_000])
  func everything(size: UInt64) throws {
    let client = try Stage(volumeBytes: size).client()
    // The client counts received bytes, so more than the 0 bytes it requested are an error.
    if size == 0 {
      try client.download(bytes: 0, isChecking: true)
    } else {
      #expect(throws: EndFailure.self) { try client.download(bytes: 0) }
    }
  }

  @Test("an upload that arrives altered is not confirmed")
  func changed() throws {
    let client = try Stage().client()
    var call = client.nextCall(Remote.storageVolUpload)
    let arguments = VolumeTransferArguments(
      pool: "", name: "", key: "", offset: 8, length: 0, flags: 0)
    try client.outflow.put(Packets.make(call, arguments))
    try client.outflow.flush()
    try client.awaitReply(to: call)
    call.kind = .stream
    call.status = .continue
    let run = OutgoingRun()
    run.add(call, position: 9, count: 100)
    #expect(try run.send(to: client.socket))
    call.status = .ok
    try client.outflow.put(call)
    try client.outflow.flush()
    let answer = try #require(try client.inflow.header())
    #expect(answer.kind == .stream && answer.status == .error)
    #expect(throws: EndFailure.self) { try client.check(answer) }
  }

  @Test("calls are answered while downloads wait for a slow reader, and no packets mix")
  func slowReader() throws {
    let stage = try Stage()
    let client = try stage.client()
    let bytes: UInt64 = 3_000_000
    let arguments = VolumeTransferArguments(
      pool: "", name: "", key: "", offset: 0, length: bytes, flags: 0)
    var positions: [UInt32: UInt64] = [:]
    for _ in 0..<4 {
      let call = client.nextCall(Remote.storageVolDownload)
      positions[call.serial] = 0
      try client.outflow.put(Packets.make(call, arguments))
    }
    try client.outflow.flush()
    usleep(50_000)
    var unanswered = Set(positions.keys)
    for _ in 0..<1000 {
      let call = client.nextCall(Remote.connectGetURI)
      unanswered.insert(call.serial)
      try client.outflow.put(call)
    }
    try client.outflow.flush()
    usleep(50_000)
    while let header = try client.inflow.header() {
      if header.kind == .reply {
        #expect(unanswered.remove(header.serial) != nil)
      } else {
        let position = try #require(positions[header.serial])
        if client.inflow.bodyLeft == 0 {
          #expect(position == bytes)
          positions[header.serial] = nil
        }
        while case let piece = try client.inflow.piece(), !piece.isEmpty {
          #expect(Pattern.matches(piece, at: positions[header.serial]!))
          positions[header.serial]! += UInt64(piece.count)
        }
      }
      if positions.isEmpty && unanswered.isEmpty { break }
    }
    #expect(positions.isEmpty && unanswered.isEmpty)
    try client.close()
  }

  @Test(
    "a finish and an abort before the end are confirmed, and the connection remains usable",
    arguments: [PacketStatus.ok, .error])
  func early(status: PacketStatus) throws {
    let client = try Stage().client()
    var call = client.nextCall(Remote.storageVolDownload)
    let arguments = VolumeTransferArguments(
      pool: "", name: "", key: "", offset: 0, length: 0, flags: 0)
    try client.outflow.put(Packets.make(call, arguments))
    call.kind = .stream
    call.status = status
    try client.outflow.put(call)
    try client.outflow.flush()
    var isConfirmed = false
    while !isConfirmed, let header = try client.inflow.header() {
      isConfirmed = header.kind == .stream && header.status == .ok
    }
    #expect(isConfirmed)
    try client.download(bytes: 1_000_000, isChecking: true)
  }

  @Test("invalid data end their own connection, and the daemon continues")
  func nonsense() throws {
    let stage = try Stage()
    let (client, other) = (try stage.client(), try stage.client())
    try client.outflow.put([UInt8](repeating: 0, count: 28))
    try client.outflow.flush()
    #expect(try client.inflow.header() == nil)
    try other.download(bytes: 1_000_000, isChecking: true)
    try stage.client().close()
  }
}
