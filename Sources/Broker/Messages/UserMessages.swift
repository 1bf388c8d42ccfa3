// VB-USER: files that are opened with the rights of the user that root's process will become.
import Streams

extension MessageDefinition {
  static let cannotUseRightsOfUser = MessageDefinition(
    "VB-USER-020", .error, "…: cannot use the rights of user …: …",
    "The process is root's, and a container or sandbox does not let it change its user.")
  static let cannotChangeGroups = MessageDefinition(
    "VB-USER-021", .error, "cannot change groups: …")
  static let cannotChangeUserID = MessageDefinition(
    "VB-USER-022", .error, "cannot change to uid …: …")
  static let cannotReturnToRoot = MessageDefinition(
    "VB-USER-023", .error, "cannot return to root: …")
  static let withRightsOfUser = MessageDefinition(
    "VB-USER-024", .error,
    "… (with the rights of user …, because that user can change what the path leads to)",
    "Root opens nothing with its own rights where the user can change a directory on the way. If the file is the "
      + "broker's, give it to the user: `chown virtbroker FILE`. If it is a link or a second name of another file, "
      + "find out who created it.")
}
