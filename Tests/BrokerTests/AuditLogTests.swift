// The audit log between the loop and the thread that writes it.
import Foundation
import Streams
import Testing

@testable import Broker

@Suite("Audit log")
struct AuditLogTests {
  private let reactor: Reactor
  private let pool: BlockingPool
  private let scratch: Scratch
  private var path: String { "\(scratch.path)/audit" }

  init() throws {
    reactor = try Reactor()
    pool = BlockingPool(on: reactor)
    scratch = try Scratch()
  }

  private func audit() throws -> AuditLog {
    var settings = AuditSettings()
    settings.destination = .file(path)
    return try #require(
      try AuditLog(
        settings, on: reactor, pool, log: BrokerLog(threshold: .error) { _, _ in }, for: nil))
  }

  /// Runs the loop until this many records are written.
  private func run(_ audit: AuditLog, until count: UInt64) {
    let end = reactor.now + 60
    var alarm: Alarm?
    alarm = Alarm(on: reactor) { [reactor] in
      if audit.written >= count || reactor.now > end { return reactor.stop() }
      alarm?.start(seconds: 0.001)
    }
    alarm?.start(seconds: 0)
    reactor.run()
    alarm = nil
    #expect(audit.written == count)
  }

  private func records() throws -> [[String: Any]] {
    try Data(contentsOf: URL(fileURLWithPath: path)).split(separator: UInt8(ascii: "\n")).map {
      try #require(JSONSerialization.jsonObject(with: $0) as? [String: Any])
    }
  }

  @Test("records are written in order, including those added during a write")
  func order() throws {
    let audit = try audit()
    for number in 0..<3 { audit.add("first") { $0.add("number", number) } }
    run(audit, until: 3)
    // So large that it is written without waiting for more.
    audit.add("large") { $0.add("text", String(repeating: "x", count: 300_000)) }
    audit.add("behind") { $0.add("number", 4) }
    run(audit, until: 5)
    let records = try records()
    #expect(
      records.map { $0["event"] as? String } == ["first", "first", "first", "large", "behind"])
    #expect(records.prefix(3).map { $0["number"] as? Int } == [0, 1, 2])
  }

  @Test("a record that does not fit is dropped and counted; a smaller one after it is written")
  func dropped() throws {
    let audit = try audit()
    for number in 0..<5 {
      audit.add("large") { record in
        record.add("number", number)
        record.add("text", String(repeating: "x", count: 300_000))
      }
    }
    audit.add("small") { _ in }
    #expect(audit.dropped == 2)
    run(audit, until: 5)
    let records = try records()
    #expect(
      records.map { $0["event"] as? String }
        == ["large", "large", "large", "small", "records_dropped"])
    #expect(records.last?["count"] as? Int == 2)
    #expect(audit.dropped == 2)
  }

  @Test("closing the log writes the remaining records")
  func closing() throws {
    let audit = try audit()
    audit.add("last") { _ in }
    audit.close()
    #expect(try records().map { $0["event"] as? String } == ["last"])
    #expect(audit.written == 1)
  }
}
