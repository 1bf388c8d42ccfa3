// Log lines that repeat.
import Streams
import Testing

@testable import Broker

@Suite("Repeated log lines")
struct LogLimitTests {
  private static let failure = MessageDefinition("VB-TEST-001", .warning, "client … fails")
  private static let detail = MessageDefinition("VB-TEST-002", .debug, "detail")

  private final class Heard {
    var lines: [String] = []
  }

  @Test(
    "a limited number of one client's lines is written, then a count; other clients and debug lines are unaffected"
  )
  func repeated() {
    let heard = Heard()
    let sink = LogSink(threshold: .debug) { heard.lines.append($0.message.text) }
    let log = BrokerLog(sink)
    var built = 0
    func say(_ client: UInt64) {
      log.about(LogClient(id: client)).write(
        LogLimitTests.failure,
        {
          built += 1
          return [client]
        }())
    }
    for _ in 0..<1000 { say(1) }
    #expect(heard.lines.count == 20 && built == 20)
    say(2)
    #expect(heard.lines.last == "client 2 fails")
    sink.reportLeftOut(all: false)
    #expect(heard.lines.count == 21)
    sink.reportLeftOut(all: true)
    #expect(heard.lines.last == "980 log lines left out, similar to: client 1 fails")
    say(1)
    #expect(heard.lines.last == "client 1 fails")
    heard.lines = []
    for _ in 0..<1000 { log.write(LogLimitTests.detail) }
    for _ in 0..<1000 { log.answer(Message(LogLimitTests.failure, [3])) }
    #expect(heard.lines.count == 2000)
  }

  @Test("all clients together have a limit too; it starts again after each window")
  func window() {
    var limit = LogLimit()
    func spot(_ client: UInt64) -> LogLimit.Spot {
      LogLimit.Spot("Broker/X.swift", 7, client: client)
    }
    var written = 0
    var news = 0
    for client in UInt64(0)..<10_000 {
      switch limit.admit(spot(client), at: 1) {
      case .first, .further: written += 1
      case .leftOut(let isNews): news += isNews ? 1 : 0
      }
    }
    #expect(written == 500 && news == 1)
    #expect(!limit.isReportDue(at: 5.9) && limit.isReportDue(at: 6))
    #expect(limit.hasReports)
    _ = limit.takeReports(at: 6)
    #expect(!limit.hasReports)
    let anew = limit.admit(spot(1), at: 6)
    #expect(anew == .first)
  }
}
