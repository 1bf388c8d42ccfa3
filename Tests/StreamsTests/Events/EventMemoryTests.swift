// What a client's event registrations are remembered by.
import Testing

@testable import Streams

@Suite("event memory")
struct EventMemoryTests {
  private static let noObjects = [UInt8](repeating: 0, count: 8)

  @Test(
    "a list that comes before the survey of a registration begins was requested for another, and tells nothing"
  )
  func earlierLists() {
    let memory = EventMemory()
    // The life cycles of all domains.
    let call = PacketHeader(procedure: 316, kind: .call, serial: 1)
    memory.begins(call, arguments: [UInt8](repeating: 0, count: 8))
    let reply = PacketHeader(procedure: 316, kind: .reply, serial: 1)
    #expect(memory.answered(reply, body: [0, 0, 0, 0]).survey == .domain)
    for _ in ObjectKind.domain.listings { memory.surveyed(.domain, EventMemoryTests.noObjects) }
    #expect(!memory.isWhole)
    memory.beginSurvey(of: .domain)
    for _ in ObjectKind.domain.listings { memory.surveyed(.domain, EventMemoryTests.noObjects) }
    #expect(memory.isWhole)
  }
}
