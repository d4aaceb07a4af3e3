// Package planted lists bugs on purpose. A harness that finds nothing proves
// nothing unless it is known to find what is there; so each of the mistakes
// below, which are the ones that a system of this kind dies of, can be put into
// a build of its own. The simulation of whole clusters must catch it, or else
// the tests of one member:
//
//	make chaos-selftest
//
// Without the build tag "planted" [Is] is constantly false, and the compiler
// leaves nothing of it. With the tag the environment names the one bug that the
// program has, HOLDFAST_PLANTED=no-tombstone, or none.
package planted

// Bug is the name of one mistake.
type Bug string

// The bugs, in the order of the path that a write takes. What each does is in
// All; where, at the place that asks Is for it.
const (
	ExpiredLease     Bug = "expired-lease"
	LeaseSeenOnce    Bug = "lease-seen-once"
	LeaseByOne       Bug = "lease-by-one"
	LateRepeat       Bug = "late-repeat"
	StampedLate      Bug = "stamped-late"
	LeaseDespite     Bug = "lease-despite-promise"
	LeasedElsewhere  Bug = "leased-elsewhere"
	WallClock        Bug = "wall-clock-stamps"
	NoTombstone      Bug = "no-tombstone"
	AskedAgain       Bug = "confirmed-when-asked-again"
	EarlyForget      Bug = "early-tombstone-drop"
	LaterWriteWins   Bug = "later-write-wins"
	ExpiryNotMerged  Bug = "expiry-not-merged"
	StaleDigest      Bug = "stale-digest"
	ClearedOnSend    Bug = "cleared-on-send"
	AckBeforeApply   Bug = "ack-before-apply"
	NotRebuilt       Bug = "copies-not-rebuilt"
	ClosestN         Bug = "closest-n"
	SuccessorInZone  Bug = "successor-in-zone"
	WeighedEarly     Bug = "weighed-early"
	BootIgnored      Bug = "boot-ignored"
	NoRejoin         Bug = "no-rejoin"
	NoRelay          Bug = "no-relay"
	SameName         Bug = "same-name"
	NoEpoch          Bug = "claim-without-epoch"
	AliveIgnored     Bug = "claim-from-the-living"
	UnaskedIgnored   Bug = "claimant-not-asked"
	UnsureForgotten  Bug = "unsure-forgotten"
	BehindUnsaid     Bug = "behind-unsaid"
	ServesOn         Bug = "serves-after-yielding"
	MissWhileCold    Bug = "miss-while-cold"
	DroppedUnchecked Bug = "dropped-unconfirmed"
	OldRoster        Bug = "old-roster-counts"
	FoundsAlone      Bug = "founds-alone"
	NotGivenBack     Bug = "not-given-back"
	ConfirmedLate    Bug = "confirmed-late"
	LogoutAlone      Bug = "logout-alone"
	PastConfirmed    Bug = "past-confirmed"
	NoLead           Bug = "no-lead"
	JumpFollowed     Bug = "jump-followed"
	WrongClockServes Bug = "wrong-clock-serves"
	BulkStalls       Bug = "bulk-stalls"
	RefusedIsEnded   Bug = "refused-is-ended"
	JoinsUnreached   Bug = "joins-unreached"
	NoStandIn        Bug = "no-stand-in"
	LossUnseen       Bug = "loss-unseen"
	ServesUnreached  Bug = "serves-unreached"
	AloneUnreached   Bug = "alone-unreached"
	RotationUntold   Bug = "rotation-untold"
	ReplacedDrops    Bug = "replaced-drops"
	DroppedTooFew    Bug = "dropped-too-few"
	GhostsReturn     Bug = "returns-with-ghosts"
	UnsavedLogout    Bug = "logout-not-on-disk"
	OldDiskKept      Bug = "old-disk-kept"
	NobodyAwaited    Bug = "starts-without-the-others"
	SavedLater       Bug = "acknowledged-before-synced"
)

// All says of each bug what it does.
var All = []struct {
	Bug  Bug
	What string
}{
	{ExpiredLease, "an owner serves on an expired lease"},
	{LeaseSeenOnce, "the lease is not looked at again after an operation"},
	{LeaseByOne, "one member's answer is enough for an owner that has stood still"},
	{LateRepeat, "a repetition that comes late is run although another one was run and answered"},
	{StampedLate, "a write is stamped when it is applied, not when its owner was sure to be the owner"},
	{LeaseDespite, "a member gives a lease to an owner whose succession it has agreed to"},
	{LeasedElsewhere, "an owner that is silent counts as free though a voter has just given it a lease"},
	{WallClock, "stamps are the wall clock, whatever a write has seen"},
	{NoTombstone, "a delete leaves no tombstone"},
	{AskedAgain, "a logout that is asked for again is confirmed, whether a copy has it or not"},
	{EarlyForget, "tombstones are forgotten after a second"},
	{LaterWriteWins, "of a tombstone and a session the later stamp wins, whatever it belongs to"},
	{ExpiryNotMerged, "a merge keeps the expiry that was there"},
	{StaleDigest, "the digest is not updated when a session changes"},
	{ClearedOnSend, "a key counts as copied when it was sent, answered or not"},
	{AckBeforeApply, "a successor confirms a copy a second before it has it"},
	{NotRebuilt, "copies are not compared, so lost ones are not rebuilt"},
	{ClosestN, "successors are the library's GetClosestN"},
	{SuccessorInZone, "all copies of a partition may lie in the zone of its owner"},
	{WeighedEarly, "weights and zones count for who knows of them, while a member takes part that does not"},
	{BootIgnored, "a restarted process is taken for the one before"},
	{NoRejoin, "lost members are not contacted again"},
	{NoRelay, "one cut link makes what is behind it unreachable"},
	{SameName, "two processes with one name, started at the same moment, both stay"},
	{NoEpoch, "claims have no order"},
	{AliveIgnored, "partitions are claimed from the living, whatever ring they see, and given"},
	{UnaskedIgnored, "two claims of one partition are agreed to, of which neither claimant was asked by the other"},
	{UnsureForgotten, "a node that has joined during a cut goes by what it has seen itself of where copies may be"},
	{BehindUnsaid, "a holder that its owner did not reach vouches for its copy all the same"},
	{ServesOn, "a member goes on serving what it has yielded"},
	{MissWhileCold, "a miss on a cold partition is answered before the holders were asked"},
	{DroppedUnchecked, "a copy is dropped before anybody has confirmed it"},
	{OldRoster, "who does not know of a roster that others have agreed to still gets leases and consent"},
	{FoundsAlone, "a node that was told whom to join serves though it has reached nobody"},
	{NotGivenBack, "what was given up to a claimant that gives its claim up is not served again"},
	{ConfirmedLate, "a write is confirmed by its copies though a successor may have been let in before they came"},
	{BulkStalls, "a connection for bulk transfers that passes nothing more is waited for"},
	{RefusedIsEnded, "a process whose address refuses connections has ended, whatever else is known of it"},
	{JoinsUnreached, "a node takes its place on the ring though nobody reaches its peer port"},
	{NoStandIn, "where the holder of a copy is not reached, nobody else gets it"},
	{LogoutAlone, "a logout is confirmed though a holder is silent that may come back"},
	{PastConfirmed, "a copy is confirmed that has ended by its holder's clock, and is not held"},
	{NoLead, "the stamps of a new owner are those of its clock, whatever the clock of the one before"},
	{JumpFollowed, "a member's time jumps with its host's clock"},
	{WrongClockServes, "a member serves whose clock is off that of all others"},
	{LossUnseen, "sessions of which nobody has a copy left are not counted as lost"},
	{AloneUnreached, "a node that reaches nobody goes on alone, though gossip tells that others serve"},
	{ServesUnreached, "a node stays on the ring though nobody reaches its peer port"},
	{RotationUntold, "the copies are not told where a rotation has moved a session"},
	{DroppedTooFew, "a node that leaves drops its copy though too few others have one, while one that may come back is out of reach"},
	{ReplacedDrops, "a node whose name another process has taken meanwhile stops with what it alone holds"},
	{GhostsReturn, "a node that was away for longer than tombstones live keeps its old copies"},
	{UnsavedLogout, "the end of a session is not written to the disk"},
	{OldDiskKept, "a node whose disk is older than tombstones live keeps what is on it"},
	{NobodyAwaited, "a node with a disk founds a cluster without those that it knew when it last ran"},
	{SavedLater, "with -fsync always a write is acknowledged when it is written, synced or not"},
}
