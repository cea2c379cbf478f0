module pocketrnn.example/engine

go 1.21
