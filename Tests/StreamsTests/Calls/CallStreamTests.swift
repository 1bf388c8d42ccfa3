// The state machine of a stream: every phase with every event.
import Testing

@testable import Simulator
@testable import Streams

/// The events of a stream.
private enum StreamEvent: String, CaseIterable {
  case replyOK, replyError
  case clientData, clientFinish, clientAbort, clientOther, clientHole
  case serverData, serverEnd, serverConfirmation, serverError, serverOther, serverHole
}

extension CallStream {
  /// Handles the event. A reply has no decision.
  fileprivate mutating func take(_ event: StreamEvent) -> StreamDecision? {
    let other = PacketStatus(rawValue: 7)
    switch event {
    case .replyOK: opened(.ok)
    case .replyError: opened(.error)
    case .clientData: return client(.stream, .continue)
    case .clientFinish: return client(.stream, .ok)
    case .clientAbort: return client(.stream, .error)
    case .clientOther: return client(.stream, other)
    case .clientHole: return client(.streamHole, .continue)
    case .serverData: return server(.stream, .continue, payload: 10)
    case .serverEnd: return server(.stream, .continue, payload: 0)
    case .serverConfirmation: return server(.stream, .ok, payload: 0)
    case .serverError: return server(.stream, .error, payload: 60)
    case .serverOther: return server(.stream, other, payload: 0)
    case .serverHole: return server(.streamHole, .continue, payload: 12)
    }
    return nil
  }
}

@Suite("call stream")
struct CallStreamTests {
  /// The events that lead to each phase.
  private static let ways: [(StreamPhase, [StreamEvent])] = [
    (.opening, []),
    (.open, [.replyOK]),
    (.drained, [.replyOK, .serverEnd]),
    (.drained, [.serverEnd, .replyOK]),
    (.drained, [.serverEnd]),
    (.finishing, [.replyOK, .clientFinish]),
    (.finishing, [.replyOK, .serverEnd, .clientFinish]),
    (.finishing, [.clientFinish]),
    (.aborting, [.replyOK, .clientAbort]),
    (.aborting, [.replyOK, .serverData, .clientAbort]),
    (.aborting, [.replyOK, .clientOther]),
    (.closed, [.replyOK, .serverError]),
    (.closed, [.replyOK, .clientFinish, .serverConfirmation]),
    (.closed, [.replyOK, .clientAbort, .serverError]),
    (.closed, [.replyError]),
    (.closed, [.serverError]),
  ]

  /// The decision and the next phase of a sparse stream, for each phase and event.
  private static let table: [StreamPhase: [StreamEvent: (StreamDecision?, StreamPhase)]] = [
    .opening: [
      .replyOK: (nil, .open), .replyError: (nil, .closed),
      .clientData: (.relay, .opening), .clientFinish: (.relay, .finishing),
      .clientAbort: (.relay, .aborting), .clientOther: (.relay, .aborting),
      .clientHole: (.relay, .opening),
      .serverData: (.relay, .opening), .serverEnd: (.relay, .drained),
      .serverConfirmation: (.violation, .closed), .serverError: (.relay, .closed),
      .serverOther: (.violation, .opening), .serverHole: (.relay, .opening),
    ],
    .open: [
      .replyOK: (nil, .open), .replyError: (nil, .closed),
      .clientData: (.relay, .open), .clientFinish: (.relay, .finishing),
      .clientAbort: (.relay, .aborting), .clientOther: (.relay, .aborting),
      .clientHole: (.relay, .open),
      .serverData: (.relay, .open), .serverEnd: (.relay, .drained),
      .serverConfirmation: (.violation, .closed), .serverError: (.relay, .closed),
      .serverOther: (.violation, .open), .serverHole: (.relay, .open),
    ],
    .drained: [
      .replyOK: (nil, .drained), .replyError: (nil, .closed),
      .clientData: (.relay, .drained), .clientFinish: (.relay, .finishing),
      .clientAbort: (.relay, .aborting), .clientOther: (.relay, .aborting),
      .clientHole: (.relay, .drained),
      .serverData: (.relay, .drained), .serverEnd: (.relay, .drained),
      .serverConfirmation: (.violation, .closed), .serverError: (.relay, .closed),
      .serverOther: (.violation, .drained), .serverHole: (.relay, .drained),
    ],
    .finishing: [
      .replyOK: (nil, .finishing), .replyError: (nil, .closed),
      .clientData: (.drop, .finishing), .clientFinish: (.drop, .finishing),
      .clientAbort: (.drop, .finishing), .clientOther: (.drop, .finishing),
      .clientHole: (.drop, .finishing),
      .serverData: (.relay, .finishing), .serverEnd: (.relay, .finishing),
      .serverConfirmation: (.relay, .closed), .serverError: (.relay, .closed),
      .serverOther: (.violation, .finishing), .serverHole: (.relay, .finishing),
    ],
    .aborting: [
      .replyOK: (nil, .aborting), .replyError: (nil, .closed),
      .clientData: (.drop, .aborting), .clientFinish: (.drop, .aborting),
      .clientAbort: (.drop, .aborting), .clientOther: (.drop, .aborting),
      .clientHole: (.drop, .aborting),
      .serverData: (.relay, .aborting), .serverEnd: (.relay, .aborting),
      .serverConfirmation: (.relay, .closed), .serverError: (.relay, .closed),
      .serverOther: (.violation, .aborting), .serverHole: (.relay, .aborting),
    ],
    .closed: [
      .replyOK: (nil, .closed), .replyError: (nil, .closed),
      .clientData: (.drop, .closed), .clientFinish: (.drop, .closed),
      .clientAbort: (.drop, .closed), .clientOther: (.drop, .closed), .clientHole: (.drop, .closed),
      .serverData: (.drop, .closed), .serverEnd: (.drop, .closed),
      .serverConfirmation: (.drop, .closed), .serverError: (.drop, .closed),
      .serverOther: (.drop, .closed), .serverHole: (.drop, .closed),
    ],
  ]

  /// On a stream that is not sparse, a hole is a violation by its sender while the stream would relay it.
  private static func expected(
    _ phase: StreamPhase, _ event: StreamEvent, isSparse: Bool
  ) throws -> (StreamDecision?, StreamPhase) {
    let known = try #require(table[phase]?[event])
    let isHole = event == .clientHole || event == .serverHole
    return isHole && !isSparse && known.0 == .relay ? (.violation, phase) : known
  }

  @Test("every event in every phase gets the decision of the table", arguments: [true, false])
  func everyPair(isSparse: Bool) throws {
    for (phase, way) in Self.ways {
      for event in StreamEvent.allCases {
        var stream = CallStream(isSparse: isSparse)
        for step in way { _ = stream.take(step) }
        #expect(stream.phase == phase, "\(way)")
        let decision = stream.take(event)
        let expected = try Self.expected(phase, event, isSparse: isSparse)
        #expect(decision == expected.0, "\(event) while \(phase)")
        #expect(stream.phase == expected.1, "after \(event) while \(phase)")
      }
    }
  }

  @Test("nothing is relayed after the end of a stream", arguments: 0..<200 as Range<UInt64>)
  func nothingBehindTheEnd(seed: UInt64) {
    var random = Seed(seed)
    var stream = CallStream(isSparse: random.once(in: 2))
    var isOver = false
    var isConfirmed = false
    for _ in 0..<40 {
      guard let event = StreamEvent.allCases.randomElement(using: &random) else { continue }
      let decision = stream.take(event)
      if isOver { #expect(decision == .drop || decision == nil, "\(event)") }
      if event == .serverConfirmation, decision == .relay {
        #expect(!isConfirmed, "confirmed once")
        isConfirmed = true
      }
      isOver = isOver || stream.phase == .closed
    }
  }
}
