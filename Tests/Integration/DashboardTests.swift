// The Grafana dashboard, evaluated by a real Prometheus that monitors a real broker under load.
import Foundation
import Streams
import Testing

@Suite("Dashboard")
struct DashboardTests {
  private static let dashboard = Package.project + "/etc/grafana/virtbroker.json"

  private struct Panels: Decodable {
    struct Panel: Decodable { let title: String }
    let panels: [Panel]
  }

  /// Starts a Prometheus and returns it with its address.
  private static func prometheus(watching port: Int) throws -> (Child, String) {
    let directory = try Scratch.directory("p")
    let configuration = directory + "/prometheus.yml"
    try """
    global: { scrape_interval: 1s }
    scrape_configs:
      - job_name: virtbroker
        static_configs: [ { targets: [ "127.0.0.1:\(port)" ] } ]
    """.write(toFile: configuration, atomically: false, encoding: .utf8)
    let own = try BrokerProcess.freePort()
    let child = try Child([
      "prometheus", "--config.file=\(configuration)", "--storage.tsdb.path=\(directory)/data",
      "--web.listen-address=127.0.0.1:\(own)",
    ])
    return (child, "http://127.0.0.1:\(own)")
  }

  @Test("Prometheus parses every expression and has data for each panel")
  func panels() async throws {
    let sockets = try Scratch.directory("s")
    let backend = try ScriptedBackend(in: sockets) { line, packet in
      guard packet.header.kind == .call, packet.header.procedure == 9 else { return false }
      try line.send(
        Packets.error(answering: packet.header, RemoteError(.operationFailed, "not today")))
      return true
    }
    let port = try BrokerProcess.freePort()
    let audit = try Scratch.directory("a") + "/audit.json"
    let tls = try await TLSBroker(
      backends: sockets,
      settings: ["metrics_listen = \"127.0.0.1:\(port)\"", "audit_log = \"file:\(audit)\""])
    let (prometheus, url) = try Self.prometheus(watching: port)
    let titles = try JSONDecoder().decode(
      Panels.self, from: Data(contentsOf: URL(fileURLWithPath: Self.dashboard))
    ).panels.map(\.title)
    #expect(titles.count > 10)

    let picture = try Scratch.directory("d") + "/dashboard.svg"
    var drawing = Command(
      Package.project + "/scripts/draw-dashboard", "--prometheus", url, "--minutes", "1",
      "--output", picture)
    drawing.limit = .seconds(30)
    let (drawn, last) = try await blocking { [drawing] in
      let client = try tls.broker.client()
      try client.open()
      let stream = try client.openStream(Remote.storageVolUpload, pool: "p", volume: "v")
      var last = CommandResult(status: -1, output: "", errors: "")
      let drawn = try eventually(within: 40) {
        for _ in 0..<10 {
          _ = try client.call(157)
          _ = try client.call(9)
          try client.send(RawClient.packet(stream, [UInt8](repeating: 1, count: 1000)))
          usleep(50_000)
        }
        last = try drawing.runHere()
        let lines = last.output.split(separator: "\n").map(String.init)
        return last.status == 0
          && titles.allSatisfy { title in
            lines.contains { $0.hasPrefix(title + ": ") } && !lines.contains(title + ": 0 series")
          }
      }
      return (drawn, last)
    }
    #expect(drawn, "\(last.output)\(last.errors)")
    let svg = try String(contentsOfFile: picture, encoding: .utf8)
    for title in titles { #expect(svg.contains(">\(title)</text>")) }
    #expect(svg.contains(">DOMAIN_CREATE</text>"), "a legend says which")
    #expect(!svg.contains("No data"))
    let broken = try Scratch.directory("d") + "/broken.json"
    try String(contentsOfFile: Self.dashboard, encoding: .utf8)
      .replacing("sum(virtbroker_streams{", with: "sum(virtbroker_streams(")
      .write(toFile: broken, atomically: false, encoding: .utf8)
    let refused = try await Command(
      Package.project + "/scripts/draw-dashboard", "--prometheus", url, "--output", picture, broken
    ).run()
    #expect(refused.status == 1 && refused.errors.contains("parse error"), "\(refused.errors)")
    prometheus.end()
    try await tls.broker.stop()
    withExtendedLifetime(backend) {}
  }
}
