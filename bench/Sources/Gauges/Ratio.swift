// Ratios of two peers' figures, round by round.

extension Spread {
  /// The ratios of `figures` to `others`, each pair from the same round, so that a disturbance of the machine in one
  /// round affects both. A round has no ratio if either figure is missing or the other one is not above zero. nil if
  /// no round has a ratio.
  public init?(of figures: [Double?], to others: [Double?]) {
    self.init(
      zip(figures, others).compactMap { figure, other in
        guard let figure, let other, other > 0, figure.isFinite, other.isFinite else { return nil }
        return figure / other
      })
  }
}
