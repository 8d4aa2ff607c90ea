from postroad_stack.sink.main import main

main()
