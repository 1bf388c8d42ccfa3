// The first page of a report: what a reader who does not know the project wants to know.
import Ends
import Foundation
import Gauges
import Plots

extension Peer {
  /// Its name for readers who do not know the tables.
  var publicName: String {
    switch self {
    case .direct: "no relay"
    case .virtbrokerd: "virtbroker"
    case .limit: "minimal C relay"
    case .haproxy: "HAProxy, 256 KiB buffers"
    case .haproxySplice: "HAProxy, splice"
    case .haproxyDefault: "HAProxy, default buffers"
    case .socat: "socat"
    case .libvirtdTCP: "libvirtd's own TCP port"
    case .virtproxyd: "libvirt's virtproxyd"
    }
  }
}

extension Report {
  /// A use of a relay, and the figure that matters for it.
  private struct Use {
    var name, title, explanation: String
    /// The titles of its loads, each with the heading of its group of bars.
    var loads: [(title: String, heading: String)]
    var metric: Metric
  }

  private var uses: [Use] {
    // The titles of the virsh loads have the size of the volume in them.
    let virsh = results.kinds.filter { $0.name.hasPrefix("virsh-") }
    return [
      Use(
        name: "console", title: "Console: time until a keystroke is echoed, beside bulk data",
        explanation: "A volume is copied in both directions on the same connection meanwhile.",
        loads: [(ConsoleLoad(beside: .same, seconds: 1).title, "")],
        metric: .echoP50),
      Use(
        name: "migration", title: "Migration: rate of a tunnelled migration's stream",
        explanation: "TCP in front of a UNIX socket, messages of 64 KiB as libvirt sends them.",
        loads: [(StreamLoad(name: "", kind: .migration, bytes: 1, streams: 1).title, "")],
        metric: .throughput),
      Use(
        name: "volumes", title: "Volumes: rate of virsh with a real libvirtd",
        explanation: "The whole command is timed.",
        loads: virsh.map { ($0.title, "virsh " + $0.label) }, metric: .throughput),
    ]
  }

  /// One plot for each use that was measured.
  var firstPlots: [Plot] {
    uses.compactMap { use in
      let groups = use.loads.compactMap { load -> RankChart.Group? in
        guard let kind = results.kinds.first(where: { $0.title == load.title }) else { return nil }
        let rows = results.peers.compactMap { peer in
          results.spread(of: use.metric, kind, peer.name).map {
            RankChart.Row(
              Peer(rawValue: peer.name)?.publicName ?? peer.name, color: color(of: peer.name),
              figure: Reach($0), isOwn: peer.name == Peer.virtbrokerd.rawValue)
          }
        }
        return rows.isEmpty ? nil : RankChart.Group(load.heading, rows: rows)
      }
      guard !groups.isEmpty else { return nil }
      let direction =
        use.metric.better == .lower ? "← shorter bars are better" : "longer bars are better →"
      let chart = RankChart(
        title: use.title,
        subtitle:
          "\(direction)\(use.metric.isLogarithmic ? " (logarithmic axis)" : ""). \(use.explanation)",
        unit: use.metric.unit, footer: circumstances + "; bars: median, lines: least and most",
        isLogarithmic: use.metric.isLogarithmic, groups: groups)
      return Plot(file: "\(stem)-use-\(use.name).svg", title: use.title, svg: chart.svg)
    }
  }

  /// The peers that the five figures are compared with.
  private static let rivals: [(peer: Peer, heading: String)] = [
    (.haproxy, "to HAProxy"), (.limit, "to a minimal C relay"), (.virtproxyd, "to virtproxyd"),
  ]

  /// The README has this table, too.
  var fiveFigures: String {
    let own = Peer.virtbrokerd.rawValue
    let rows: [(title: String, words: String, metric: Metric)] = [
      (
        ConsoleLoad(beside: .same, seconds: 1).title,
        "echo of a keystroke beside bulk on the same connection", .echoP50
      ),
      (
        ConsoleLoad(beside: .connection, seconds: 1).title,
        "echo of a keystroke beside bulk on **another** connection", .echoP50
      ),
      (
        StreamLoad(name: "", kind: .download, bytes: 1, streams: 1).title, "download, one stream",
        .throughput
      ),
      (
        StreamLoad(name: "", kind: .upload, bytes: 1, streams: 1).title, "upload, one stream",
        .throughput
      ),
      (
        CallLoad(name: "", depth: 16, seconds: 1).title, "16 calls in progress on one connection",
        .rate
      ),
    ]
    var text = ""
    for row in rows {
      guard let kind = results.kinds.first(where: { $0.title == row.title }),
        let spread = results.spread(of: row.metric, kind, own)
      else { continue }
      let ratios = Self.rivals.map { rival in
        results.ratio(of: row.metric, kind, own, to: rival.peer.rawValue)
          .map { Self.verdict($0.median, row.metric) } ?? "–"
      }
      text +=
        "| \(row.words) | \(Self.plain(spread.median)) \(row.metric.unit) "
        + "(\(Self.plain(spread.least))–\(Self.plain(spread.most))) | "
        + ratios.joined(separator: " | ") + " |\n"
    }
    guard !text.isEmpty else { return "" }
    return "| | broker | " + Self.rivals.map(\.heading).joined(separator: " | ")
      + " |\n|--|--|--|--|--|\n" + text
  }

  /// A ratio to another peer in words. Differences of less than three per cent are no loss.
  private static func verdict(_ ratio: Double, _ metric: Metric) -> String {
    let words = "\(plain(ratio)) × the \(metric.better == .lower ? "time" : "rate")"
    return isLoss(ratio, metric) ? "loses: \(words)" : words
  }

  private static func isLoss(_ ratio: Double, _ metric: Metric) -> Bool {
    metric.better == .lower ? ratio > 1.03 : ratio < 0.97
  }

  /// A figure with two or three digits, whatever its size.
  private static func plain(_ value: Double) -> String {
    if value >= 1000 {
      let whole = String(Int(value.rounded()))
      return String(
        whole.enumerated().flatMap { index, digit -> [Character] in
          index > 0 && (whole.count - index) % 3 == 0 ? [",", digit] : [digit]
        })
    }
    return String(format: value < 0.095 ? "%.1g" : value < 100 ? "%.2f" : "%.0f", value)
  }

  /// All measurements in which another relay is better than the broker, without the curves, which have plots.
  var losses: String {
    let own = Peer.virtbrokerd.rawValue
    let rivals = results.peers.map(\.name).filter { $0 != own && $0 != Peer.direct.rawValue }
    var text = ""
    for kind in results.kinds where kind.position == nil {
      for metric in kind.metrics where metric == kind.metrics.first || metric == .relayCPU {
        let lost = rivals.compactMap { rival -> String? in
          guard let ratio = results.ratio(of: metric, kind, own, to: rival),
            Self.isLoss(ratio.median, metric)
          else { return nil }
          return "\(Self.plain(ratio.median)) of \(rival)'s"
        }
        if !lost.isEmpty {
          text += "- \(kind.title): \(metric.name) \(lost.joined(separator: ", "))\n"
        }
      }
    }
    return text
  }

  /// A direct connection beside the broker's: what a relay costs at all.
  private var withoutRelay: String {
    let own = Peer.virtbrokerd.rawValue
    let parts = [TransferKind.download, .upload].compactMap { kind -> String? in
      let title = StreamLoad(name: "", kind: kind, bytes: 1, streams: 1).title
      guard let kind = results.kinds.first(where: { $0.title == title }),
        let ratio = results.ratio(of: .throughput, kind, Peer.direct.rawValue, to: own)
      else { return nil }
      return "\(Self.plain(ratio.median)) times (\(kind.name))"
    }
    return parts.isEmpty
      ? ""
      : "A direct UNIX socket, without any relay, has \(parts.joined(separator: " and ")) the broker's rate."
  }

  var firstPage: String {
    var text = ""
    for plot in firstPlots { text += "![\(plot.title)](\(plot.file))\n\n" }
    let table = fiveFigures
    if !table.isEmpty {
      text += "## Five figures\n\n\(table)\n"
      let losses = losses
      if !losses.isEmpty {
        text += "Measurements in which another relay is better by more than 3 %:\n\n\(losses)\n"
      }
      if !withoutRelay.isEmpty { text += withoutRelay + "\n\n" }
    }
    return text
  }
}
