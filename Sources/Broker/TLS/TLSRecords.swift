// What a TLS session keeps of the records after its handshake.

/// Keys, budgets and decrypted bytes. The keys of both directions are here, or of neither: then GnuTLS does the records.
/// Owned by a session.
struct TLSRecords {
  /// Records that are decrypted in one turn. A full one takes longer than an empty one, but an empty one costs the
  /// peer 22 bytes: 100,000 of them fit into what one turn may read.
  private static let mostInTurn = 1024

  /// The keys of each direction.
  var reading: TLSRecordKeys?
  var writing: TLSRecordKeys?
  /// Records that are sent with the same keys.
  var mostWithKeys = TLSRecordKeys.mostRecords
  /// GnuTLS may have to put new keys in front of what is sent next.
  var owesKeys = false
  /// Decrypted bytes for which there was no room.
  var plain = TLSBuffer()
  private var decryptedInTurn = 0
  /// Bytes that GnuTLS may still take, while it is given one record and no more; nil: no bound.
  var pullsLeft: Int?
  /// Records that are no application data.
  var controls = ControlBudget()
  /// Where the peer is in a handshake message.
  var message = MessageTracker()

  mutating func beginTurn() { decryptedInTurn = 0 }

  /// One more record is decrypted. False: its turn is the next one.
  mutating func spend() -> Bool {
    decryptedInTurn += 1
    return decryptedInTurn <= TLSRecords.mostInTurn
  }
}
