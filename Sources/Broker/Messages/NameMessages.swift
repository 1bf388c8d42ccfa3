// VB-NAME: names of users and groups.
import Streams

extension MessageDefinition {
  static let nameLookupTimedOut = MessageDefinition(
    "VB-NAME-001", .warning,
    "name lookup for uid … and gid … timed out after … s; sending numeric IDs to backends",
    "The name service (LDAP, SSSD) is slow or down. `getent passwd UID` asks it.")
}
