// Showing and changing the rates of streams.
import ArgumentParser
import Streams

struct LimitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "limit",
    abstract: "Shows the rates that streams are kept to, or changes one.",
    discussion: """
      Of identities, the first in the list that fits a client counts for it, and both that and the rate of all \
      hold. A change takes effect at once, on streams under way as well, and lasts until the configuration \
      file says something new or the broker is started again.
      """)
  @OptionGroup var socket: SocketOptions
  @OptionGroup var output: OutputOptions
  @Option(
    help: ArgumentHelp(
      """
      Whose rate to change, as the tables show the identity: a SASL user's name, a certificate's name or 'uid N'; \
      a local user's name means the same as its uid. With * and ? as wildcards. Each one that fits has the rate \
      to itself. Without: that of all together.
      """, valueName: "name"))
  var identity: String?
  @Argument(help: "console, upload, download or migration. Without: all are shown.")
  var kind: String?
  @Argument(
    help: """
      Bytes a second like 500K, 10M or 1.5G; 'off': as many as they like; 'default': this identity has no rate \
      of its own any more. Without: that kind's are shown.
      """)
  var rate: String?

  func validate() throws {
    guard identity == nil || rate != nil else {
      throw ToolFailure.usage(.identityWithoutRate)
    }
    for word in [kind, rate] where (word ?? "").utf8.count > BrokerCall.wordLimit {
      throw ToolFailure.usage(.wordTooLong, [printable(word ?? "")])
    }
    guard (identity ?? "").utf8.count <= BrokerCall.identityLimit else {
      throw ToolFailure.usage(.identityTooLong, [BrokerCall.identityLimit])
    }
  }

  func run() throws {
    let connection = try socket.connect()
    if let kind, let rate {
      let reply = try connection.call(.setRate(kind: kind, identity: identity, rate: rate))
      if let identity { warn(of: identity, reply) }
    }
    let rows = try connection.rows { .rates(after: $0) }
    let shown = kind.map { kind in rows.filter { $0.text("kind") == kind } } ?? rows
    // Each kind has a row, whatever its rate.
    guard !shown.isEmpty else {
      throw ToolFailure(.unknownKind, [printable(kind ?? "")])
    }
    output.show(shown, as: .rates)
  }

  /// A rate for an identity without clients is most often a mistyped name. Older brokers do not report the number of
  /// clients.
  private func warn(of identity: String, _ reply: [UInt8]) {
    guard rate != "default",
      let page = try? reply.withUnsafeBytes({ try BrokerPage(payload: $0) }),
      let matched = page.rows.first.flatMap({ Row($0).number("matched_clients") }), matched == 0
    else { return }
    Standard.report(Message(.identityMatchesNoClient, [printable(identity)]))
  }
}
