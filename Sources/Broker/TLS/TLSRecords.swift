// The state that a TLS session keeps of the records after its handshake.

/// Keys, budgets and decrypted bytes. Either the keys of both directions are here, or none: then GnuTLS handles the
/// records. A session owns it.
struct TLSRecords {
  /// Limit of the records decrypted in one turn. A full record takes longer than an empty one, but an empty one costs
  /// the peer 22 bytes: 100,000 of them fit into what one turn may read.
  private static let mostInTurn = 1024

  /// The keys of each direction.
  var reading: TLSRecordKeys?
  var writing: TLSRecordKeys?
  /// Limit of the records sent with the same keys.
  var mostWithKeys = TLSRecordKeys.mostRecords
  /// GnuTLS may have to send new keys before the next data.
  var owesKeys = false
  /// Decrypted bytes for which there was no room.
  var plain = TLSBuffer()
  private var decryptedInTurn = 0
  /// Bytes that GnuTLS may still take while it handles exactly one record; nil: no bound.
  var pullsLeft: Int?
  /// The budget of records that are not application data.
  var controls = ControlBudget()
  /// The peer's position in a handshake message.
  var message = MessageTracker()

  mutating func beginTurn() { decryptedInTurn = 0 }

  /// Counts one more decrypted record. False: it must wait for the next turn.
  mutating func spend() -> Bool {
    decryptedInTurn += 1
    return decryptedInTurn <= TLSRecords.mostInTurn
  }
}
