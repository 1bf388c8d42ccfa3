// The report has the measurements, the skipped measurements and the reasons.
import Ends
import Foundation
import Testing

@testable import virtbench

@Suite("Report")
struct ReportTests {
  private let kinds = [
    Kind(StreamLoad(name: "download", kind: .download, bytes: 1, streams: 1)),
    Kind(CallLoad(name: "call", depth: 1, seconds: 1)),
  ]

  /// Three rounds, each twice as slow as the one before for all peers.
  private func results(baseline: String = "limit") -> Results {
    var results = Results(
      peers: ["direct", "virtbrokerd", "limit", "virtproxyd"].map {
        .init(name: $0, explanation: "explained | \($0)")
      },
      kinds: kinds, baseline: baseline)
    results.rounds = 3
    for round in 1...3 {
      let speed = 8 / pow(2, Double(round))
      for (peer, factor) in [("direct", 2.0), ("virtbrokerd", 0.9), ("limit", 1)] {
        var figures = ["throughput": speed * factor]
        if peer != "direct" { figures["relay's CPU"] = 0.5 / factor }
        results.runs.append(
          SingleRun(
            round: round, measurement: kinds[0].title, peer: peer, start: 0, seconds: 1,
            figures: figures))
      }
    }
    results.skips = [
      Skip(
        peer: "virtproxyd", measurement: nil, backend: .synthetic,
        reason: "virtproxyd is not installed"),
      Skip(peer: "direct", measurement: kinds[1].title, reason: "it broke\nin | two"),
    ]
    return results
  }

  private func report(_ results: Results) -> Report {
    Report(
      results: results,
      machine: Machine(
        processor: "Some Processor", cores: 2, memoryMiB: 4096, kernel: "6.1", load: 0.25,
        versions: [.init(program: "haproxy", version: "2.6.12")]),
      name: "trial", seconds: 61, date: Date(timeIntervalSince1970: 1_800_000_000))
  }

  @Test("a table has medians, ranges, and ratios paired by rounds")
  func table() {
    let text = report(results()).markdown
    #expect(
      text.contains(
        "| virtbrokerd | 1.80 (0.90–3.60) | 0.90 (0.90–0.90) "
          + "| 0.556 (0.556–0.556) | 1.11 (1.11–1.11) |"))
    #expect(
      text.contains("| direct | 4.00 (2.00–8.00) | 2.00 (2.00–2.00) | – | – |"))
    #expect(text.contains("| download, one stream: throughput, GiB/s ↑ | 0.45 | 0.90 |"))
    #expect(
      text.contains(
        "Some Processor, 2 cores, 4096 MiB of memory, Linux 6.1. haproxy 2.6.12. "
          + "Load average before it began: 0.25."))
  }

  @Test("a skipped measurement is in the report with its reason")
  func skipped() {
    let text = report(results()).markdown
    #expect(
      text.contains(
        "| virtproxyd | explained \\| virtproxyd "
          + "| SKIPPED before the synthetic backend: virtproxyd is not installed |"))
    #expect(text.contains("SKIPPED in calls, one at a time: it broke in \\| two"))
    #expect(text.contains("## calls, one at a time\n\nSKIPPED on every peer."))
  }

  @Test("a reason that is the same for both backends is given once")
  func sameReason() {
    var results = results()
    results.skips.append(
      Skip(
        peer: "virtproxyd", measurement: nil, backend: .libvirtd,
        reason: "virtproxyd is not installed"))
    #expect(
      report(results).markdown.contains(
        "| SKIPPED before the synthetic and the libvirtd backend: virtproxyd is not installed |"))
  }

  @Test("every row of a table has as many cells as its header")
  func cells() {
    for baseline in ["limit", "virtproxyd"] {
      var columns: Int?
      for line in report(results(baseline: baseline)).markdown.split(
        separator: "\n", omittingEmptySubsequences: false)
      {
        guard line.hasPrefix("|") else {
          columns = nil
          continue
        }
        let count = line.replacingOccurrences(of: "\\|", with: "").filter { $0 == "|" }.count
        if let columns { #expect(count == columns, "\(line)") }
        columns = count
      }
    }
  }

  @Test("without figures of the baseline the report has figures and no ratios")
  func noBaseline() {
    let text = report(results(baseline: "virtproxyd")).markdown
    #expect(text.contains("| virtbrokerd | 1.80 (0.90–3.60) | 0.556 (0.556–0.556) |"))
    #expect(text.contains("No ratios: virtproxyd gave no figure here."))
  }

  @Test("JSON has every run, the machine and the summary")
  func json() throws {
    struct Document: Decodable {
      struct Summary: Decodable {
        struct Spread: Decodable { let median: Double }
        let measurement, peer, metric: String
        let spread: Spread
        let ratioToBaseline: Spread?
      }
      let date: String
      let machine: Machine
      let results: Results
      let summary: [Summary]
    }
    let report = report(results())
    let document = try JSONDecoder().decode(Document.self, from: try report.json)
    #expect(document.date == "2027-01-15")
    #expect(document.results.runs == results().runs)
    #expect(document.results.skips == results().skips)
    #expect(document.machine == report.machine)
    let broker = try #require(
      document.summary.first { $0.peer == "virtbrokerd" && $0.metric == "throughput" })
    #expect(broker.spread.median == 1.8)
    #expect(abs(try #require(broker.ratioToBaseline).median - 0.9) < 1e-12)
  }

  @Test("the files are where the report says")
  func files() throws {
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("virtbench-test.\(UUID().uuidString)/results")
    defer { try? FileManager.default.removeItem(at: directory.deletingLastPathComponent()) }
    let path = try report(results()).write(to: directory.path)
    #expect(path == directory.path + "/2027-01-15-trial.md")
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let found = Set(try FileManager.default.contentsOfDirectory(atPath: directory.path))
    let named = text.split(separator: "](").dropFirst().map { String($0.prefix { $0 != ")" }) }
    #expect(named.count == 2, "throughput and the relay's CPU, and no use was measured")
    #expect(found == Set(named + ["2027-01-15-trial.md", "2027-01-15-trial.json"]))
  }

  @Test("a peer has the same colour in every plot, whichever other peers there are")
  func colors() throws {
    let all = report(results())
    var fewer = results()
    fewer.peers.removeAll { $0.name == "direct" }
    fewer.runs.removeAll { $0.peer == "direct" }
    fewer.peers.insert(.init(name: "mine", explanation: ""), at: 0)
    let some = report(fewer)
    for peer in ["virtbrokerd", "limit", "virtproxyd"] {
      #expect(all.color(of: peer) == some.color(of: peer))
    }
    let names = Peer.allCases.map(\.rawValue) + ["mine"]
    #expect(Set(names.map { some.color(of: $0) }).count == names.count)
    for plot in some.plots {
      let key = "class=\"key\" fill=\"\(all.color(of: "virtbrokerd"))\""
      #expect(plot.svg.contains(key), "\(plot.title)")
    }
  }

  @Test("a plot has text that says what it shows and which direction is better")
  func titles() throws {
    var results = results()
    let kind = Kind(ConsoleLoad(beside: .same, seconds: 1))
    results.kinds.append(kind)
    for (peer, delay) in [("virtbrokerd", 5.6), ("limit", 2378)] {
      results.runs.append(
        SingleRun(
          round: 1, measurement: kind.title, peer: peer, start: 0, seconds: 1,
          figures: ["echo p50": delay, "echo p99": delay * 2]))
    }
    let plots = report(results).plots
    let stream = try #require(plots.first)
    #expect(stream.title == "Throughput, synthetic daemon")
    #expect(stream.svg.contains(">higher is better; bars: median of the rounds"))
    let echo = try #require(plots.first { $0.file.contains("echo-p50-ms") })
    #expect(echo.title == "Time until a keystroke is echoed: half are faster, synthetic daemon")
    #expect(echo.svg.contains(">lower is better; ") && echo.svg.contains("logarithmic axis"))
    #expect(echo.svg.contains(">ms<") && echo.svg.contains(">1,000<"))
    // Every plotted metric has a title for its plots.
    for load in Loads.all(Amounts(streamBytes: 1, callSeconds: 1, clientBytes: 1)) {
      for metric in load.metrics where metric.isPlotted { #expect(!metric.plotTitle.isEmpty) }
    }
  }

  @Test("a metric's name becomes a file name without special characters")
  func slugs() {
    #expect(Report.slug(.p50) == "p50-us")
    #expect(Report.slug(.relayCPU) == "relay-s-cpu-s-gib")
  }

  @Test("measurements that differ in a size become a line chart with a point for each size")
  func lines() throws {
    var results = results()
    for size in [64.0, 1024, 65536] {
      var kind = Kind(StreamLoad(name: "sizes", kind: .upload, bytes: 1, streams: 1))
      kind.title = "messages of \(size)"
      kind.position = Position(size: size, unit: "bytes per message", isInBytes: true)
      results.kinds.append(kind)
      for peer in ["virtbrokerd", "limit"] {
        results.runs.append(
          SingleRun(
            round: 1, measurement: kind.title, peer: peer, start: 0, seconds: 1,
            figures: ["throughput": size / 1e4]))
      }
    }
    let plots = report(results).plots
    let line = try #require(
      plots.first { $0.file == "2027-01-15-trial-sizes-throughput-gib-s.svg" })
    #expect(line.svg.components(separatedBy: "class=\"point\"").count - 1 == 6)
    #expect(line.svg.contains("bytes per message") && line.svg.contains("1 KiB"))
    let bars = try #require(plots.first)
    #expect(bars.svg.components(separatedBy: "class=\"bar\"").count - 1 == 3)
  }
}
