// Threads for TLS handshakes, beside the loop.
import Glibc
import Streams

/// The threads that all TLS handshakes of a broker share, those of clients and those with other hosts.
///
/// A client determines how long a step of a handshake takes before it has proven anything. Measured with GnuTLS 3.7.9
/// (best of 15, in milliseconds of one processor) for the step that answers a ClientHello with P-256: 0.3 if the broker
/// has an ECDSA or Ed25519 key, 2.9 with RSA 2048, 6.7 with RSA 3072 (certtool's default), 13 with RSA 4096; P-384 adds
/// 0.4 and P-521 1.1. The step that verifies a client takes 0.2 to 1.3. While eight clients did nothing but send
/// ClientHellos to a broker with RSA 4096, a call on an open connection took 56 ms in the median with the steps on the
/// loop, four in a turn, and takes 0.2 ms with them here; without the flood it takes 0.2 ms. The threads have a lower
/// priority than the loop's.
final class HandshakePool {
  /// The result of a step. The last step has the check of the peer's certificates.
  enum Outcome: Sendable {
    case blocked(Interest)
    case failed(Message)
    case done(TLSPeerCheck)
  }

  private static let niceness: Int32 = 10

  /// For sessions in their handshake.
  let buffers = TLSBuffers(isShared: true)
  private let pool: BlockingPool

  init(on reactor: Reactor) {
    pool = BlockingPool(on: reactor, niceness: HandshakePool.niceness)
  }

  /// Carries a session to a thread and back.
  private struct Loan: @unchecked Sendable { let session: TLSSession }

  /// Continues the handshake as far as possible, then calls `completion` on the loop's thread, never before this
  /// returns. Until then the session belongs to another thread, and its owner must not touch it.
  func step(
    _ session: TLSSession, verify: @escaping @Sendable (TLSSession) -> TLSPeerCheck,
    completion: @escaping (Outcome) -> Void
  ) -> BlockingPool.Job {
    let loan = Loan(session: session)
    return pool.run(
      .handshakes,
      { () -> Outcome in
        switch loan.session.handshake() {
        case .blocked(let on): .blocked(on)
        case .failed(let error): .failed(error)
        case .done: .done(verify(loan.session))
        }
      }, completion: completion)
  }

  /// The step's result is not reported. A queued step is dropped; a running one ends by itself.
  func cancel(_ job: BlockingPool.Job) { pool.cancel(job) }

  /// Waits for the steps under way: the process may end after this, and GnuTLS with it.
  func finish() { pool.finish() }
}
