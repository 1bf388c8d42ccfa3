// The rates of streams: administrators see and change them.
import Streams

extension AdminService {
  /// Limit of the rules for identities. Each stream that opens checks each of them.
  private static let mostRules = 1000

  /// The total rates first, kind by kind, then those of identities, in the order in which they count.
  func rates(after: UInt64) -> BrokerPage {
    let rates = broker.sessions.rates
    let totals = RateKind.allCases.map { row($0, nil, rates.totals[$0] ?? 0) }
    let rows = totals + rates.identities.map { row($0.kind, $0.pattern, $0.rate) }
    let start = Int(clamping: after)
    guard start < rows.count else { return BrokerPage(rows: [], next: 0) }
    let end = min(rows.count, start + BrokerPage.usualRows)
    return BrokerPage(rows: Array(rows[start..<end]), next: end < rows.count ? UInt64(end) : 0)
  }

  private func row(_ kind: RateKind, _ pattern: String?, _ rate: Int) -> [TypedParameter] {
    var row = [TypedParameter("kind", .string(kind.rawValue))]
    if let pattern { row.append(TypedParameter("identity", .string(pattern))) }
    row.append(TypedParameter("bytes_per_second", .ullong(UInt64(clamping: rate))))
    return row
  }

  /// Sets another rate for the streams of a kind, including those under way: for all together, or for each identity
  /// that matches. The reply is the number of connected clients with such an identity.
  func setRate(
    of name: String, for pattern: String?, to text: String
  ) throws(RemoteError) -> BrokerPage {
    guard let kind = RateKind(rawValue: name) else {
      throw refusal(.kindWithoutRate, [name])
    }
    var rates = broker.sessions.rates
    if text == "default" {
      try forget(kind, pattern, in: &rates)
    } else {
      guard let rate = text == "off" ? 0 : RateText.read(text) else {
        throw refusal(.invalidRate, [text])
      }
      if let pattern {
        try set(RateRule(kind, pattern, rate: rate), in: &rates)
      } else {
        rates.totals[kind] = rate == 0 ? nil : rate
      }
    }
    broker.sessions.change(rates: rates)
    guard let pattern else {
      broker.log[.admin].write(.totalRateChanged, [name, text])
      return BrokerPage(rows: [], next: 0)
    }
    broker.log[.admin].write(.identityRateChanged, [name, pattern, text])
    let rule = RateRule(kind, pattern, rate: 0)
    let matched = broker.sessions.all.count { rule.fits($0.identity.ruleNames) }
    return BrokerPage(
      rows: [[TypedParameter("matched_clients", .ullong(UInt64(matched)))]], next: 0)
  }

  private func forget(
    _ kind: RateKind, _ pattern: String?, in rates: inout RateSettings
  ) throws(RemoteError) {
    guard let pattern else {
      throw refusal(.defaultWithoutIdentity)
    }
    let count = rates.identities.count
    rates.identities.removeAll { $0.kind == kind && $0.pattern == pattern }
    guard rates.identities.count < count else {
      throw refusal(.noRateOfIdentity, [kind.rawValue, pattern])
    }
  }

  /// A new rule precedes all others; otherwise it might have no effect.
  private func set(_ rule: RateRule, in rates: inout RateSettings) throws(RemoteError) {
    guard !rule.pattern.isEmpty else { throw refusal(.emptyIdentity) }
    if let place = rates.identities.firstIndex(where: {
      $0.kind == rule.kind && $0.pattern == rule.pattern
    }) {
      rates.identities[place] = rule
      return
    }
    guard rates.identities.count < AdminService.mostRules else {
      throw refusal(.tooManyRates, [rates.identities.count])
    }
    rates.identities.insert(rule, at: 0)
  }

  private func refusal(
    _ definition: MessageDefinition, _ arguments: [any CustomStringConvertible] = []
  ) -> RemoteError {
    RemoteError(.invalidArgument, domain: .admin, definition, arguments)
  }
}
