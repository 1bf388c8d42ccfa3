// A socket whose every read and send is scripted.
@testable import Streams

/// Each read returns one piece; each send accepts as much as is allowed.
final class PiecedTransport: Transport {
  var carriesDescriptors = true
  private var pieces: [(bytes: ArraySlice<UInt8>, descriptor: Int32)] = []
  /// The outcome of a read when no piece is left.
  var afterwards = Outcome.blocked(.read)

  var hasPieces: Bool { !pieces.isEmpty }

  /// One recorded send.
  enum Sent: Equatable {
    case bytes([UInt8])
    case descriptor(Int32)
  }
  private(set) var sent: [Sent] = []
  private(set) var discarded: [Int32] = []
  /// The bytes accepted before the socket blocks, and the most accepted by one send.
  var room = Int.max
  var perSend = Int.max

  /// Adds a piece for one read. A descriptor arrives with its last byte.
  func supply(_ bytes: ArraySlice<UInt8>, descriptor: Int32 = -1) {
    pieces.append((bytes, descriptor))
  }

  func receive(into rooms: UnsafeBufferPointer<Run>, descriptor: inout Int32) -> Outcome {
    guard !pieces.isEmpty else { return afterwards }
    var moved = 0
    for room in rooms {
      let part = pieces[0].bytes.prefix(room.count)
      UnsafeMutableRawBufferPointer(start: room.base, count: room.count).copyBytes(from: part)
      pieces[0].bytes = pieces[0].bytes.dropFirst(part.count)
      moved += part.count
    }
    if pieces[0].bytes.isEmpty {
      let piece = pieces.removeFirst()
      if piece.descriptor >= 0 { descriptor = piece.descriptor }
    }
    return .moved(moved)
  }

  func send(_ runs: UnsafeBufferPointer<Run>) -> Outcome {
    guard room > 0 else { return .blocked(.write) }
    var taken: [UInt8] = []
    for run in runs {
      let count = min(run.count, min(room, perSend) - taken.count)
      taken.append(contentsOf: UnsafeRawBufferPointer(start: run.base, count: count))
    }
    sent.append(.bytes(taken))
    room -= taken.count
    return .moved(taken.count)
  }

  func send(descriptor: Int32) -> Outcome {
    guard room > 0 else { return .blocked(.write) }
    sent.append(.descriptor(descriptor))
    room -= 1
    return .moved(1)
  }

  func discard(descriptor: Int32) { discarded.append(descriptor) }

  /// Returns the bytes sent, carriers as zeros, and clears the record.
  func takeBytes() -> [UInt8] {
    defer { sent = [] }
    var all: [UInt8] = []
    for sent in sent {
      switch sent {
      case .bytes(let bytes): all += bytes
      case .descriptor: all.append(0)
      }
    }
    return all
  }

  var sentDescriptors: [Int32] {
    sent.compactMap { if case .descriptor(let number) = $0 { number } else { nil } }
  }
}
