// The rates of streams: which identity has which rates, and changing them while streams run.
import Streams

/// The kinds of streams that can be limited.
public enum RateKind: String, CaseIterable, Sendable {
  case console, upload, download, migration

  init?(_ kind: StreamKind) {
    switch kind {
    case .console: self = .console
    case .upload: self = .upload
    case .download: self = .download
    case .migration: self = .migration
    case .other: return nil
    }
  }
}

/// What the configuration says about rates.
public struct RateSettings: Sendable, Equatable {
  /// Bytes a second of all streams of a kind together; no entry: no limit.
  public var totals: [RateKind: Int] = [:]
  /// Rules for identities. Of the rules for a kind that match an identity the first counts.
  public var identities: [RateRule] = []
  public init() {}
}

/// A rate for the streams of one kind of each identity whose name matches.
public struct RateRule: Sendable, Equatable {
  public var kind: RateKind
  /// A SASL user's name, a certificate's, `uid N`, or a local user's name; `*` and `?` are wildcards.
  public var pattern: String
  /// Bytes a second; 0: no limit, whatever rules follow.
  public var rate: Int

  public init(_ kind: RateKind, _ pattern: String, rate: Int) {
    self.kind = kind
    self.pattern = pattern
    self.rate = rate
  }

  func fits(_ names: [String]) -> Bool {
    let list = NameList([pattern])
    return names.contains { list.admits($0) }
  }
}

/// A rate as text: `500K`, `10M`, `1.5G` (of 1024, 1024² and 1024³ bytes) or plain bytes, a second.
public enum RateText {
  /// The highest rate, so that no computation with it overflows.
  public static let most = 1 << 50

  public static func read(_ text: String) -> Int? {
    let units: [(suffix: Character, factor: Double)] = [
      ("K", 1024), ("M", 1_048_576), ("G", 1_073_741_824),
    ]
    var digits = Substring(text)
    var factor = 1.0
    if let last = text.last, let unit = units.first(where: { $0.suffix == last }) {
      factor = unit.factor
      digits = digits.dropLast()
    }
    guard let first = digits.first, first.isASCII, first.isNumber,
      digits.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }),
      factor > 1 || !digits.contains("."), let number = Double(digits)
    else { return nil }
    let rate = number * factor
    guard rate <= Double(most), rate == 0 || rate >= 1 else { return nil }
    return Int(rate)
  }
}

/// Every meter of a broker.
final class RateLimits {
  private struct Key: Hashable {
    let kind: RateKind
    let subject: String
  }

  private(set) var settings: RateSettings
  private var totals: [RateKind: Meter] = [:]
  /// Each meter, with the names by which rules may match its identity.
  private var identities: [Key: (meter: Meter, names: [String])] = [:]

  init(_ settings: RateSettings) {
    self.settings = settings
    for (kind, rate) in settings.totals { totals[kind] = Meter(rate: rate) }
  }

  /// The meters of a stream that a client with this identity opens now; empty: it has no rate.
  func meters(for stream: StreamKind, of identity: VerifiedIdentity) -> [Meter] {
    guard let kind = RateKind(stream) else { return [] }
    var meters: [Meter] = []
    if let total = totals[kind], total.rate > 0 { meters.append(total) }
    let names = identity.ruleNames
    if let subject = identity.subject, let rate = rate(for: kind, of: names), rate > 0 {
      let key = Key(kind: kind, subject: subject)
      let meter = identities[key]?.meter ?? Meter(rate: rate)
      // A rule may match a name that the name service has returned only now.
      if meter.rate != Double(rate) { meter.change(rate: rate) }
      identities[key] = (meter, names)
      meters.append(meter)
    }
    return meters
  }

  private func rate(for kind: RateKind, of names: [String]) -> Int? {
    settings.identities.first { $0.kind == kind && $0.fits(names) }?.rate
  }

  /// Applies new rates, also to streams that are waiting.
  func change(_ settings: RateSettings) {
    self.settings = settings
    for kind in RateKind.allCases {
      let rate = settings.totals[kind] ?? 0
      if let meter = totals[kind] {
        meter.change(rate: rate)
      } else {
        totals[kind] = Meter(rate: rate)
      }
    }
    for (key, known) in identities {
      known.meter.change(rate: self.rate(for: key.kind, of: known.names) ?? 0)
    }
  }

  /// Removes the meters of an identity that has no client left.
  func forget(_ subject: String) {
    for kind in RateKind.allCases { identities[Key(kind: kind, subject: subject)] = nil }
  }
}

extension ClientSession {
  func meters(for kind: StreamKind) -> [Meter] {
    let meters = broker.sessions.meters(for: kind, of: identity)
    if kind == .upload || kind == .migration {
      narrow(to: meters.reduce(Double.infinity) { $1.rate > 0 ? min($0, $1.rate) : $0 })
    }
    return meters
  }
}
