// The first page of a report, and reports from several files.
import ArgumentParser
import Ends
import Foundation
import Gauges
import Testing

@testable import virtbench

@Suite("The first page of a report, and merged reports")
struct FirstPageTests {
  private static let console = Kind(ConsoleLoad(beside: .same, seconds: 1))
  private static let migration = Kind(
    StreamLoad(name: "migration", kind: .migration, bytes: 1, streams: 1))
  private static let upload = Kind(
    StreamLoad(name: "upload", kind: .upload, bytes: 1, streams: 1))
  private static let virsh = Kind(VirshLoad(kind: .download, bytes: 256 << 20))

  private func results(_ figures: [(Kind, peer: String, metric: Metric, values: [Double])])
    -> Results
  {
    var kinds: [Kind] = []
    for (kind, _, _, _) in figures where !kinds.contains(kind) { kinds.append(kind) }
    var results = Results(
      peers: ["direct", "virtbrokerd", "limit", "haproxy", "virtproxyd"].map {
        .init(name: $0, explanation: "")
      }, kinds: kinds, baseline: "limit")
    for (kind, peer, metric, values) in figures {
      for (index, value) in values.enumerated() {
        results.runs.append(
          SingleRun(
            round: index + 1, measurement: kind.title, peer: peer, start: 0, seconds: 1,
            figures: [metric.name: value]))
      }
      results.rounds = max(results.rounds, values.count)
    }
    return results
  }

  private func report(_ results: Results, cores: Int = 2, day: Double = 0) -> Report {
    Report(
      results: results,
      machine: Machine(
        processor: "Some Processor", cores: cores, memoryMiB: 4096, kernel: "6.1", load: 0.25,
        versions: [.init(program: "haproxy", version: "2.6.12")]),
      name: "trial", seconds: 60,
      date: Date(timeIntervalSince1970: 1_800_000_000 + day * 86_400))
  }

  private var everything: Results {
    results([
      (Self.console, "virtbrokerd", .echoP50, [5, 6, 7]),
      (Self.console, "haproxy", .echoP50, [600, 500, 700]),
      (Self.migration, "virtbrokerd", .throughput, [2, 2, 2]),
      (Self.virsh, "virtproxyd", .throughput, [0.5, 0.5, 0.5]),
      (Self.upload, "virtbrokerd", .throughput, [1, 1, 1]),
      (Self.upload, "limit", .throughput, [2, 2, 2]),
      (Self.upload, "virtproxyd", .throughput, [0.5, 0.5, 0.5]),
      (Self.upload, "direct", .throughput, [3, 3, 3]),
    ])
  }

  @Test("there is one plot for each use, with the better direction, the machine and the date")
  func plots() throws {
    let report = report(everything)
    #expect(
      report.firstPlots.map(\.file)
        == ["console", "migration", "volumes"].map {
          "2027-01-15-trial-use-\($0).svg"
        })
    for plot in report.firstPlots + report.plots {
      #expect(plot.svg.contains("Some Processor, 2 cores, Linux 6.1; 2027-01-15"), "\(plot.title)")
    }
    #expect(report.firstPlots[0].svg.contains("← shorter bars are better"))
    #expect(report.firstPlots[1].svg.contains("longer bars are better →"))
    #expect(report.firstPlots[0].svg.contains(">virtbroker</text>"))
    #expect(report.firstPlots[2].svg.contains(">libvirt's virtproxyd</text>"))
    // Each plot is on the page, before the tables.
    let conditions = try #require(report.markdown.range(of: "## Conditions"))
    for plot in report.firstPlots {
      let place = try #require(report.markdown.range(of: "](\(plot.file))"))
      #expect(place.lowerBound < conditions.lowerBound)
    }
  }

  @Test("the five figures have the median, the range, and ratios in which a loss is called one")
  func fiveFigures() {
    let text = report(everything).fiveFigures
    #expect(text.contains("| 6.00 ms (5.00–7.00) | 0.01 × the time | – | – |"), "\(text)")
    #expect(
      text.contains(
        "| upload, one stream | 1.00 GiB/s (1.00–1.00) | – | loses: 0.50 × the rate "
          + "| 2.00 × the rate |"))
    #expect(!text.contains("download"), "what was not measured is left out")
  }

  @Test("losses are listed with the relay that is better, and small differences are none")
  func losses() {
    let text = report(everything).losses
    #expect(text == "- upload, one stream: throughput 0.50 of limit's\n")
    let page = report(everything).firstPage
    #expect(page.contains("has 3.00 times (upload) the broker's rate"))
    let close = results([
      (Self.upload, "virtbrokerd", .throughput, [0.98]), (Self.upload, "limit", .throughput, [1]),
    ])
    #expect(report(close).losses.isEmpty)
  }

  @Test("a report from several files has the runs of all, and more rounds of the same measurement")
  func merging() throws {
    let one = report(everything)
    var more = results([
      (Self.upload, "virtbrokerd", .throughput, [4, 4]),
      (Self.upload, "limit", .throughput, [4, 4]),
      (Kind(CallLoad(name: "call", depth: 1, seconds: 1)), "haproxy", .p50, [100]),
    ])
    more.skips = [
      Skip(peer: "direct", measurement: Self.upload.title, reason: "measured elsewhere"),
      Skip(peer: "virtproxyd", measurement: nil, backend: .tls, reason: "no TLS"),
    ]
    more.shortened = "The time allowed was enough for 2 of 7 rounds."
    let merged = try Report(merging: [one, report(more, day: 1)], name: "both")
    #expect(merged.stem == "2027-01-16-both" && merged.seconds == 120)
    let results = merged.results
    #expect(results.rounds == 5 && results.runs.count == one.results.runs.count + 5)
    #expect(results.figures(of: .throughput, Self.upload, "virtbrokerd") == [1, 1, 1, 4, 4])
    #expect(results.spread(of: .throughput, Self.upload, "limit")?.count == 5)
    // A ratio pairs the runs of one round, as before.
    #expect(
      results.ratio(of: .throughput, Self.upload, "virtbrokerd", to: "limit")?.least == 0.5)
    #expect(results.skips.map(\.reason) == ["no TLS"])
    #expect(
      results.kinds.map(\.name) == ["upload", "migration", "call", "console", "virsh-download"])
    #expect(merged.markdown.contains("1 to 5 rounds") && !merged.markdown.contains("of 7 rounds"))
  }

  @Test("files of another machine, another version or another baseline are not merged")
  func refused() throws {
    var other = everything
    other.baseline = "haproxy"
    var pinned = everything
    pinned.isPinned = true
    var newer = report(everything)
    newer = Report(
      results: newer.results,
      machine: Machine(
        processor: "Some Processor", cores: 2, memoryMiB: 4096, kernel: "6.1", load: 0,
        versions: [.init(program: "haproxy", version: "3.0")]), name: "newer", seconds: 1)
    for part in [report(everything, cores: 4), report(other), report(pinned), newer] {
      #expect(throws: EndFailure.self) {
        try Report(merging: [report(everything), part], name: "both")
      }
    }
  }

  @Test("a report is the same when it is written again from its JSON")
  func again() throws {
    let directory = FileManager.default.temporaryDirectory
      .appendingPathComponent("virtbench-test.\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let path = try report(everything).write(to: directory)
    let text = try String(contentsOfFile: path, encoding: .utf8)
    let command = try ReportCommand.parse([
      path.replacingOccurrences(of: ".md", with: ".json"), "--results", directory + "/again",
      "--name", "trial",
    ])
    try command.run()
    let again = try String(
      contentsOfFile: directory + "/again/2027-01-15-trial.md", encoding: .utf8)
    // Only the order of the measurements may differ.
    #expect(
      Set(again.split(separator: "\n")) == Set(text.split(separator: "\n")))
    #expect(throws: EndFailure.self) { try Report(file: path) }
  }
}
