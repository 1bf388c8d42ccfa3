// One way against another, round by round.

extension Spread {
  /// The ratios of `figures` to `others`, each pair from the same round, so that whatever slowed the
  /// machine in one round slowed both. A round in which either is missing, or the other one is not
  /// above zero, has no ratio; nil when none has.
  public init?(of figures: [Double?], to others: [Double?]) {
    self.init(
      zip(figures, others).compactMap { figure, other in
        guard let figure, let other, other > 0, figure.isFinite, other.isFinite else { return nil }
        return figure / other
      })
  }
}
