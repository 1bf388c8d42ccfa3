// Which columns the table of each kind of row has.

extension Row {
  /// The identity in the form that `limit --identity` takes. A client without an identity has only its address, which
  /// is shown in parentheses.
  var whose: String {
    let identity = text("identity")
    return identity.isEmpty ? "(\(text("address")))" : identity
  }

  /// The origin of a client: its address, or a local client's user and process.
  var origin: String {
    let address = text("address")
    guard address.isEmpty else { return address }
    let user = text("user")
    return (user.isEmpty ? "" : "\(user), ") + "pid \(text("pid"))"
  }
}

extension Table {
  @Sendable private static func age(_ row: Row) -> String {
    Words.age(row.number("age_seconds") ?? 0)
  }
  private static func bytes(_ name: String) -> @Sendable (Row) -> String {
    { Words.bytes($0.number(name) ?? 0) }
  }

  static let clients = Table([
    Column("CLIENT", "client", right: true), Column("IDENTITY") { $0.whose },
    Column("VIA", "transport"), Column("FROM") { $0.origin },
    Column("RO", "read_only"), Column("STATE", "state"), Column("URI", "uri"),
    Column("CALLS", "calls", right: true), Column("STREAMS", "streams", right: true),
    Column("QUEUED", right: true, bytes("queued_bytes")), Column("PAUSED", "paused"),
    Column("AGE", right: true, age),
  ])

  static let streams = Table([
    Column("STREAM", "stream"), Column("IDENTITY") { $0.whose }, Column("USER", "user"),
    Column("PROCEDURE", "procedure"), Column("OBJECT", "object"),
    Column("DIRECTION", "direction"), Column("STATE", "state"),
    Column("UP", right: true, bytes("bytes_up")), Column("DOWN", right: true, bytes("bytes_down")),
    Column("RATE", right: true) { Words.rate($0.number("bytes_per_second") ?? 0) },
    Column("AGE", right: true, age), Column("PAUSED BY", "paused_by"),
  ])

  static let calls = Table([
    Column("CLIENT", "client", right: true), Column("SERIAL", "serial", right: true),
    Column("IDENTITY") { $0.whose }, Column("USER", "user"), Column("PROCEDURE", "procedure"),
    Column("OBJECT", "object"),
    Column("DAEMON", "daemon"), Column("AGE", right: true, age),
  ])

  static let rates = Table([
    Column("KIND", "kind"),
    Column("OF") { $0.text("identity").isEmpty ? "all together" : "each '\($0.text("identity"))'" },
    Column("RATE", right: true) { row in
      let rate = row.number("bytes_per_second") ?? 0
      return rate > 0 ? Words.rate(rate) : "off"
    },
  ])
}
