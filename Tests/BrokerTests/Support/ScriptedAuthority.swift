// A message bus with a scripted polkit, for replies that the real one cannot be made to send.
import CSystemD
import Glibc
import Synchronization

@testable import Broker

/// The bus and the authority in one, on a socket and a thread of its own.
final class ScriptedAuthority: @unchecked Sendable {
  enum Answer: Sendable {
    case verdict(granted: Bool, challenge: Bool, details: [String: String])
    case error(String)
    case nonsense
    case silence
    case hangUp
  }

  /// A request for authorization, as text.
  struct Question: Sendable, Equatable {
    var kind = ""
    var subject: [String: Int64] = [:]
    var action = ""
    var details = 0
    var flags: UInt32 = 0
    var name = ""
  }

  let path: String
  private let listener: Int32
  private let answer: Answer
  private let asked = Mutex<[Question]>([])
  private let cancelled = Mutex<[String]>([])

  var questions: [Question] { asked.withLock { $0 } }
  var cancellations: [String] { cancelled.withLock { $0 } }

  init(at path: String, _ answer: Answer) throws {
    self.path = path
    self.answer = answer
    listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard let address = Address.unix(path),
      address.withPointer({ bind(listener, $0, $1) }) == 0, listen(listener, 8) == 0
    else { throw Trouble(what: "no socket for a bus: \(errno)") }
    var thread = pthread_t()
    pthread_create(
      &thread, nil,
      { data in
        if let data { Unmanaged<ScriptedAuthority>.fromOpaque(data).takeRetainedValue().serve() }
        return nil
      }, Unmanaged.passRetained(self).toOpaque())
    pthread_detach(thread)
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=\(path)", 1)
  }

  /// Accepts no more connections. The thread closes the socket, because only the thread knows when it no longer uses
  /// the descriptor.
  func end() { shutdown(listener, Int32(SHUT_RDWR)) }

  private func serve() {
    while case let descriptor = accept(listener, nil, nil), descriptor >= 0 {
      var bus: OpaquePointer?
      var number = sd_id128_t()
      sd_id128_randomize(&number)
      sd_bus_new(&bus)
      sd_bus_set_fd(bus, descriptor, descriptor)
      sd_bus_set_server(bus, 1, number)
      sd_bus_set_anonymous(bus, 1)
      sd_bus_set_trusted(bus, 1)
      sd_bus_add_filter(
        bus, nil,
        { message, data, _ in
          guard let data, let message else { return 0 }
          return Unmanaged<ScriptedAuthority>.fromOpaque(data).takeUnretainedValue().take(message)
        }, Unmanaged.passUnretained(self).toOpaque())
      var status = sd_bus_start(bus)
      while status >= 0 {
        status = sd_bus_process(bus, nil)
        if status == 0 { status = sd_bus_wait(bus, 10_000_000) }
      }
      sd_bus_flush_close_unref(bus)
    }
    close(listener)
  }

  /// Answers one message. A negative result ends the connection.
  private func take(_ message: OpaquePointer) -> Int32 {
    guard let member = sd_bus_message_get_member(message) else { return 0 }
    switch String(cString: member) {
    case "Hello": return reply(message) { $0.append(":1.1") }
    case "CancelCheckAuthorization":
      let name = ScriptedAuthority.text(message)
      cancelled.withLock { $0.append(name) }
      return 1
    case "CheckAuthorization":
      let question = ScriptedAuthority.question(message)
      asked.withLock { $0.append(question) }
      switch answer {
      case .silence: return 1
      case .hangUp: return -ECONNRESET
      case .nonsense: return reply(message) { $0.append("yes") }
      case .error(let name):
        var error = sd_bus_error()
        sd_bus_error_set(&error, name, "as the test wants it")
        defer { sd_bus_error_free(&error) }
        return min(sd_bus_reply_method_error(message, &error), 1)
      case .verdict(let granted, let challenge, let details):
        return reply(message) { reply in
          reply.inside("r", "bba{ss}") { reply in
            reply.append("b", Int32(granted ? 1 : 0))
            reply.append("b", Int32(challenge ? 1 : 0))
            reply.inside("a", "{ss}") { reply in
              for (name, value) in details {
                reply.inside("e", "ss") { entry in
                  entry.append(name)
                  entry.append(value)
                }
              }
            }
          }
        }
      }
    default: return 0
    }
  }

  private func reply(_ call: OpaquePointer, _ fill: (inout BusMessage) -> Void) -> Int32 {
    var made: OpaquePointer?
    guard sd_bus_message_new_method_return(call, &made) >= 0, let made else { return -EIO }
    defer { sd_bus_message_unref(made) }
    var message = BusMessage(made)
    fill(&message)
    return message.status < 0 ? message.status : min(sd_bus_send(nil, made, nil), 1)
  }

  // MARK: Reading

  private static func letter(_ scalar: Unicode.Scalar) -> CChar {
    CChar(truncatingIfNeeded: scalar.value)
  }

  private static func text(_ message: OpaquePointer) -> String {
    var text: UnsafePointer<CChar>?
    sd_bus_message_read_basic(message, letter("s"), &text)
    return text.map { String(cString: $0) } ?? ""
  }

  private static func number<Number: FixedWidthInteger>(
    _ message: OpaquePointer, _ type: Unicode.Scalar, _: Number.Type
  ) -> Number {
    var number = Number(0)
    sd_bus_message_read_basic(message, letter(type), &number)
    return number
  }

  private static func question(_ message: OpaquePointer) -> Question {
    var question = Question()
    sd_bus_message_enter_container(message, letter("r"), "sa{sv}")
    question.kind = text(message)
    sd_bus_message_enter_container(message, letter("a"), "{sv}")
    while sd_bus_message_enter_container(message, letter("e"), "sv") > 0 {
      let name = text(message)
      if sd_bus_message_enter_container(message, letter("v"), "u") > 0 {
        question.subject[name] = Int64(number(message, "u", UInt32.self))
      } else if sd_bus_message_enter_container(message, letter("v"), "t") > 0 {
        question.subject[name] = Int64(clamping: number(message, "t", UInt64.self))
      } else if sd_bus_message_enter_container(message, letter("v"), "i") > 0 {
        question.subject[name] = Int64(number(message, "i", Int32.self))
      }
      sd_bus_message_exit_container(message)
      sd_bus_message_exit_container(message)
    }
    sd_bus_message_exit_container(message)
    sd_bus_message_exit_container(message)
    question.action = text(message)
    sd_bus_message_enter_container(message, letter("a"), "{ss}")
    while sd_bus_message_enter_container(message, letter("e"), "ss") > 0 {
      question.details += 1
      sd_bus_message_skip(message, "ss")
      sd_bus_message_exit_container(message)
    }
    sd_bus_message_exit_container(message)
    question.flags = number(message, "u", UInt32.self)
    question.name = text(message)
    return question
  }
}
