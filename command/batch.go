package command

// Batch is what travels to the owner: one command, or the commands of one EXEC
// with its watches. All keys are in one partition.
type Batch struct {
	Commands [][][]byte
	Multi    bool // the reply is an array of the commands' replies (EXEC)
	Proto    int  // 2 or 3
	Watches  []Watch
	Key      string // any of its keys: by which it is routed
}

// Watch is a key and its version when it was watched.
type Watch struct {
	Key   string
	Token uint64
}

// Name is the name of the batch's command, "exec" of a transaction's.
func (b *Batch) Name() string {
	if b.Multi {
		return "exec"
	}
	if len(b.Commands) > 0 && len(b.Commands[0]) > 0 {
		if s := Lookup(b.Commands[0][0]); s != nil {
			return s.Name
		}
	}
	return "command"
}
