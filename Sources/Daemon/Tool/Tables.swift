// What of each kind of row people get to see.

extension Table {
  @Sendable private static func age(_ row: Row) -> String {
    Words.age(row.number("age_seconds") ?? 0)
  }
  private static func bytes(_ name: String) -> @Sendable (Row) -> String {
    { Words.bytes($0.number(name) ?? 0) }
  }

  static let clients = Table([
    Column("CLIENT", "client", right: true), Column("IDENTITY", "identity"),
    Column("VIA", "transport"),
    Column("FROM") { $0.text("address").isEmpty ? "pid \($0.text("pid"))" : $0.text("address") },
    Column("RO", "read_only"), Column("STATE", "state"), Column("URI", "uri"),
    Column("CALLS", "calls", right: true), Column("STREAMS", "streams", right: true),
    Column("QUEUED", right: true, bytes("queued_bytes")), Column("PAUSED", "paused"),
    Column("AGE", right: true, age),
  ])

  static let streams = Table([
    Column("STREAM", "stream"), Column("IDENTITY", "identity"),
    Column("PROCEDURE", "procedure"), Column("OBJECT", "object"),
    Column("DIRECTION", "direction"), Column("STATE", "state"),
    Column("UP", right: true, bytes("bytes_up")), Column("DOWN", right: true, bytes("bytes_down")),
    Column("RATE", right: true) { Words.rate($0.number("bytes_per_second") ?? 0) },
    Column("AGE", right: true, age), Column("PAUSED BY", "paused_by"),
  ])

  static let calls = Table([
    Column("CLIENT", "client", right: true), Column("SERIAL", "serial", right: true),
    Column("IDENTITY", "identity"), Column("PROCEDURE", "procedure"), Column("OBJECT", "object"),
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
