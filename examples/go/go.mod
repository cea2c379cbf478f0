module pocketrnn/examples/go

go 1.21
