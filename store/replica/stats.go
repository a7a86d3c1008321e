package replica

// Stats count what a node's replicas did since it started.
type Stats struct {
	Applied     int // entries
	Syncs       int // Writes that had to be on disk
	Elections   int // that a replica of this node won
	Transfers   int
	ConfChanges int // that were applied
	Splits      int
	Merges      int
	Removed     int // replicas that ended
	Quiesced    int // times that a group went to sleep

	ReadRounds int // questions to a majority
	LeaseReads int // reads without one
	Refused    int // for overload

	SnapshotsSent    int
	SnapshotsApplied int
	SnapshotsRefused int // that broke off on their way in

	BadFrames    int
	FailedGroups int
}
