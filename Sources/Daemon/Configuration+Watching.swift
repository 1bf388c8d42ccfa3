// The keys of rates, metrics and the audit, which libvirt does not have.
import Broker

extension ConfigurationKey {
  static let rates: [ConfigurationKey] = [
    rate("max_console_rate", .console),
    rate("max_upload_rate", .upload),
    rate("max_download_rate", .download),
    rate("max_migration_rate", .migration),
    kept(
      "identity_rates", \.rates.identities, identityRates,
      { .list($0.map { .text("\($0.kind.rawValue) \($0.rate) \($0.pattern)") }) },
      { value in
        guard let texts = value.texts else { return nil }
        let rules = texts.compactMap(identityRate)
        return rules.count == texts.count ? rules : nil
      }),
  ]

  static let watching: [ConfigurationKey] = [
    kept(
      "metrics_listen", \.metricsAddress, metricsAddress, { $0.map { .text(shown($0)) } },
      { $0.text.flatMap(metrics).map(Optional.some) }),
    kept(
      "audit_log", \.audit.destination, "\"file:/path\" or \"journald\"",
      { $0.map { .text(shown($0)) } },
      { $0.text.flatMap(destination).map(Optional.some) }),
    kept(
      "audit_calls", \.audit.calls, "a list of \"change\", \"disclose\" and \"read\"",
      { .list($0.map(\.rawValue).sorted().map { .text($0) }) },
      { value in
        guard let texts = value.texts else { return nil }
        let classes = texts.compactMap(AuditClass.init(rawValue:))
        return classes.count == texts.count ? Set(classes) : nil
      }),
  ]

  private static func rate(_ name: String, _ kind: RateKind) -> ConfigurationKey {
    var key = ConfigurationKey(
      name: name,
      store: { value, configuration in
        guard let rate = rate(value) else { return aRate }
        configuration.rates.totals[kind] = rate == 0 ? nil : rate
        return nil
      })
    key.value = { .text("\($0.rates.totals[kind] ?? 0)") }
    key.keep = { $1.rates.totals[kind] = $0.rates.totals[kind] }
    return key
  }

  private static func shown(_ address: ListenerSettings.Address) -> String {
    switch address {
    case .tcp(let host, let port):
      host.map { $0.contains(":") ? "[\($0)]:\(port)" : "\($0):\(port)" } ?? ":\(port)"
    case .unix(let path, _, _): path
    case .activated(_, let name, _): name
    }
  }

  private static func shown(_ destination: AuditSettings.Destination) -> String {
    switch destination {
    case .file(let path): "file:\(path)"
    case .journald: "journald"
    }
  }

  /// A plain number is accepted without quotes.
  private static func rate(_ value: ConfigurationValue) -> Int? {
    if case .number(let number) = value { return RateText.read("\(number)") }
    return value.text.flatMap(RateText.read)
  }

  /// `upload 10M joe@EXAMPLE.COM`: the name is the rest of the text, including its blanks.
  private static func identityRate(_ text: String) -> RateRule? {
    let words = text.split(separator: " ", maxSplits: 2)
    guard words.count == 3, let rate = RateText.read(String(words[1])),
      let kind = RateKind(rawValue: String(words[0]))
    else { return nil }
    return RateRule(kind, String(words[2]), rate: rate)
  }

  /// `/path`, or an address with its port: `127.0.0.1:16515`, `[::1]:16515`, `localhost:16515`, `:16515`.
  private static func metrics(_ text: String) -> ListenerSettings.Address? {
    if text.hasPrefix("/") { return .unix(path: text, mode: 0o600, group: nil) }
    guard let colon = text.lastIndex(of: ":") else { return nil }
    var host = text[..<colon]
    let port = String(text[text.index(after: colon)...])
    guard UInt16(port) != nil else { return nil }
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
    } else if host.contains(":") {
      return nil
    }
    return .tcp(host: host.isEmpty ? nil : String(host), port: port)
  }

  private static func destination(_ text: String) -> AuditSettings.Destination? {
    if text == "journald" { return .journald }
    guard text.hasPrefix("file:/") else { return nil }
    return .file(String(text.dropFirst("file:".count)))
  }
}

private let aRate = "bytes a second: a number, or a string like \"500K\", \"10M\" or \"1.5G\""
private let identityRates =
  "a list of strings like \"upload 10M joe@EXAMPLE.COM\": a kind of stream (console, upload, download, "
  + "migration), a rate and whom it is for"
private let metricsAddress = "an absolute path, or an address and a port like \"127.0.0.1:16515\""
