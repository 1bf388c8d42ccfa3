// A real client: virsh transfers a volume of a real libvirtd.
import Ends
import Foundation
import Gauges

/// How a real client connects to a peer in front of a real libvirtd.
struct ClientWay: Sendable {
  var uri: String
  /// The prefix of the client's command line, for a client that must enter the daemon's network.
  var prefix: [String] = []
  /// The libvirtd behind the peer.
  var daemon: pid_t
  var volumes: LabVolumes
}

/// `virsh vol-download` to /dev/null or `vol-upload` of one volume. The time is that of the whole command, as its
/// user sees it.
struct VirshLoad: Load {
  /// A download or an upload.
  var kind: TransferKind
  var bytes: Int

  var name: String { kind == .download ? "virsh-download" : "virsh-upload" }
  var title: String {
    "virsh vol-\(kind == .download ? "download" : "upload") of \(bytes >> 20) MiB"
  }
  var label: String { kind == .download ? "vol-download" : "vol-upload" }
  var metrics: [Metric] { [.throughput, .relayCPU, .daemonCPU] }
  var backend: Backend { .libvirtd }

  /// Assumes at least 8 MiB/s, and some time for the comparison of an upload.
  var patience: Double { commandPatience + 30 }
  private var commandPatience: Double { 60 + Double(bytes) / Double(8 << 20) }

  func measure(_ subject: Subject) throws -> [Metric: Double] {
    guard let way = subject.client else { throw EndFailure("virsh has no URI for it") }
    let source = way.volumes.source.path
    var words = way.prefix + ["virsh", "-q", "-c", way.uri]
    if kind == .download {
      words += ["vol-download", "--pool", LabVolumes.pool, LabVolumes.sourceName, "/dev/null"]
    } else {
      words += ["vol-upload", "--pool", LabVolumes.pool, LabVolumes.targetName, source]
      try way.volumes.spoilTarget()
    }
    let clock = try subject.process.map(processorClock)
    let daemonClock = try processorClock(way.daemon)
    let start = now()
    _ = try Program.run("/usr/bin/env", words, patience: commandPatience)
    let seconds = Double(now() - start) / 1e9
    if kind == .upload { try way.volumes.compareTarget() }
    // A relay that forks for each connection needs some time to wait for the child.
    if subject.process != nil { usleep(20_000) }

    let gib = Double(bytes) / Double(1 << 30)
    var figures = [Metric.throughput: gib / seconds]
    if let process = subject.process, let clock {
      figures[.relayCPU] = try processorClock(process).since(clock) / gib
    }
    figures[.daemonCPU] = try processorClock(way.daemon).since(daemonClock) / gib
    return figures
  }
}
