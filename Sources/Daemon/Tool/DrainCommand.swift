// Draining the broker.
import ArgumentParser
import Streams

struct DrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "drain",
    abstract:
      "Lets connected clients continue, accepts no new ones, and ends the broker with the last one.",
    discussion: """
      Connections of idle clients are closed: those without calls, streams, event registrations, close callbacks \
      and migrations that have sent no call for 5 seconds. Repeated, it changes the time limit.
      """)
  @OptionGroup var socket: SocketOptions
  @Flag(help: "Print JSON.") var json = false
  @Flag(help: "Exit when the broker has ended.") var wait = false
  @Option(
    help: ArgumentHelp(
      """
      Seconds after which the broker stops whatever its clients do, 1 to \(BrokerCall.drainLimit); 0: there is no \
      time limit. Without: the limit of a drain under way stays, and a drain that begins has none.
      """, valueName: "seconds"))
  var timeout: Int?

  func validate() throws {
    guard let timeout else { return }
    guard 0...Int(BrokerCall.drainLimit) ~= timeout else {
      throw ToolFailure.usage(.invalidDrainTimeout, [BrokerCall.drainLimit, timeout])
    }
  }

  func run() throws {
    let connection = try socket.connect()
    let reply = try connection.call(.drain(seconds: timeout.map { UInt32(clamping: $0) }))
    guard let page = try? reply.withUnsafeBytes({ try BrokerPage(payload: $0) }),
      let row = page.rows.first.map({ Row($0) }),
      let clients = row.number("clients").flatMap({ Int(exactly: $0) }),
      let closed = row.number("idle_closed").flatMap({ Int(exactly: $0) })
    else { throw ToolFailure(.noDrainRow) }
    if json {
      print(JSON.object(row))
    } else {
      print(
        "Draining: \(counted(clients, "client")) \(clients == 1 ? "continues" : "continue"), "
          + "\(counted(closed, "idle client")) \(closed == 1 ? "was" : "were") closed.")
    }
    guard wait else { return }
    Standard.flush()
    try connection.awaitEnd()
  }
}
