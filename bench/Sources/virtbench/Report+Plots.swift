// The plots of a report: bars for each unit, and lines over sizes.
import Foundation
import Gauges
import Plots

extension Report {
  struct Plot {
    var file, title, svg: String
  }

  var plots: [Plot] { bars + lines }

  /// One chart for each metric and backend, with a group for each measurement with that metric.
  private var bars: [Plot] {
    Backend.allCases.flatMap { backend in
      let kinds = results.kinds.filter { $0.backend == backend && $0.position == nil }
      return metrics(of: kinds).compactMap { metric -> Plot? in
        let groups = kinds.filter { kind in
          kind.metrics.contains(metric)
            && results.peers.contains { results.spread(of: metric, kind, $0.name) != nil }
        }
        guard !groups.isEmpty else { return nil }
        let series = results.peers.map { peer in
          BarChart.Series(
            peer.name, color: color(of: peer.name),
            bars: groups.map { results.spread(of: metric, $0, peer.name).map(Reach.init) })
        }
        let title = "\(metric.plotTitle), \(backend.words)"
        let chart = BarChart(
          title: title, subtitle: subtitle(metric, "bars"), unit: metric.unit,
          isLogarithmic: metric.isLogarithmic, groups: groups.map(\.label), series: series,
          footer: circumstances)
        return Plot(
          file: "\(stem)-\(Self.slug(metric))-\(backend.rawValue).svg", title: title,
          svg: chart.svg)
      }
    }
  }

  /// One chart for each metric of each family of measurements that differ in a size.
  private var lines: [Plot] {
    let families = results.kinds.filter { $0.position != nil }
    return families.map(\.name).reduce(into: [String]()) { names, name in
      if !names.contains(name) { names.append(name) }
    }.flatMap { name in
      let kinds = families.filter { $0.name == name }
      return metrics(of: kinds).compactMap { metric -> Plot? in
        let series = results.peers.map { peer in
          LineChart.Series(
            peer.name, color: color(of: peer.name),
            points: kinds.compactMap { kind in
              guard let position = kind.position,
                let spread = results.spread(of: metric, kind, peer.name)
              else { return nil }
              return (position.size, Reach(spread))
            })
        }
        guard series.contains(where: { !$0.points.isEmpty }), let axis = kinds.first?.position
        else { return nil }
        let title = "\(metric.plotTitle) \(kinds.first?.family ?? name)"
        let chart = LineChart(
          title: title, subtitle: subtitle(metric, "points"), xUnit: axis.unit,
          isInBytes: axis.isInBytes, yUnit: metric.unit,
          series: series, footer: circumstances)
        return Plot(
          file: "\(stem)-\(name)-\(Self.slug(metric)).svg", title: title, svg: chart.svg)
      }
    }
  }

  /// Where and when, for the last line of each plot.
  var circumstances: String {
    "\(machine.processor), \(machine.cores) cores, Linux \(machine.kernel); \(day)"
  }

  private func metrics(of kinds: [Kind]) -> [Metric] {
    kinds.flatMap(\.metrics).reduce(into: []) {
      if $1.isPlotted, !$0.contains($1) { $0.append($1) }
    }
  }

  /// The same colour in every plot of every report: the peers known to compare have fixed ones, others follow in
  /// their order.
  func color(of peer: String) -> String {
    if let known = Peer(rawValue: peer) { return Palette.color(known.color) }
    let others = results.peers.map(\.name).filter { Peer(rawValue: $0) == nil }
    return Palette.color(Peer.allCases.count + (others.firstIndex(of: peer) ?? others.count))
  }

  private func subtitle(_ metric: Metric, _ marks: String) -> String {
    "\(metric.better.rawValue) is better; \(marks): median of the rounds, lines: least and most"
      + (metric.isLogarithmic ? "; logarithmic axis" : "")
  }

  /// The metric as a part of a file name.
  static func slug(_ metric: Metric) -> String {
    let words = "\(metric.name) \(metric.unit)".lowercased()
      .replacingOccurrences(of: "µ", with: "u")
      .split { !($0.isASCII && ($0.isLetter || $0.isNumber)) }
    return words.joined(separator: "-")
  }
}

extension Backend {
  var words: String {
    switch self {
    case .synthetic: "synthetic daemon"
    case .tls: "synthetic daemon, clients over TLS"
    case .libvirtd: "virsh and a real libvirtd"
    }
  }
}

extension Reach {
  init(_ spread: Spread) {
    self.init(spread.median, low: spread.least, high: spread.most)
  }
}
