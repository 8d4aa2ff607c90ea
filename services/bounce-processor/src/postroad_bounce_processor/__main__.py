from postroad_bounce_processor.main import main

main()
