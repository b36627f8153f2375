# SPDX-License-Identifier: Apache-2.0
"""Words, phrasings and answers of the exercises."""

WORDS = """
able acid after air also animal apple april arm army art aunt autumn baby back bag ball banana band
bank barn basket bath beach bean bear bed bee bell bench berry bird black blanket block blue board
boat body bone book boot bottle bottom bowl box boy branch bread breakfast brick bridge brother brown
brush bucket building bus butter button cabin cable cake camel camera camp candle car card carpet
carrot castle cat cattle cave chain chair chalk cheese cherry chess chicken child circle city class
clay clean clock cloth cloud coat coffee coin cold color comb cook copper copy corn cotton cough
country cousin cow cream cup curtain dance daughter day deer desert desk diamond dinner doctor dog
doll dolphin door dragon drawer dream dress drum duck dust eagle ear earth east egg elbow elephant
empty engine evening eye face factory family farm father feather fence field finger fire fish flag
floor flour flower fly fog foot forest fork fox friend frog fruit garden garlic gate ghost gift girl
glass glove goat gold goose grain grandmother grape grass green guitar hair hammer hand harbor hat
head heart hill history holiday home honey horse hospital hotel hour house hunger ice idea ink insect
iron island jacket jar jewel job judge juice jungle kettle key king kitchen kite knee knife ladder
lake lamp land leaf leather lemon letter library light lion lip list lock lunch machine magnet mango
map market meal meat melon metal milk mind mirror money monkey month moon morning mother mountain
mouse mouth museum music nail name napkin neck needle nest night noise north nose notebook number nurse
nut oak ocean oil olive onion orange oven owl page paint palace paper park parrot party path peach pear
pen pencil people pepper phone piano picture pig pillow pilot pipe plane plant plate pocket poem
potato prince pumpkin queen question quiet rabbit radio rain red rice ring river road robot rocket roof
room rope rose rubber salad salt sand school scissors sea seed shadow sheep shell ship shirt shoe shop
silver sister sky sleep smoke snake snow soap sock soldier song soup south spider spoon spring square
stable star station stone storm story street sugar summer sun table tail tea teacher tent thread
thunder ticket tiger time tomato tool tooth tower town toy train tree truck turtle umbrella uncle
valley vegetable village violin voice wagon wall watch water wave weather west wheat wheel white wind
window winter wolf woman wood wool word worm yard year yellow young zebra zero
""".split()

ARITHMETIC = {
    ("add", "en"): [
        "What is {a} + {b}?", "What is {a} plus {b}?", "What's {a} + {b}?", "What's {a} plus {b}?",
        "Calculate {a} + {b}.", "Calculate {a} plus {b}.", "Compute {a} + {b}.",
        "Compute {a} plus {b}.", "Add {a} and {b}.", "Please add {a} and {b}.", "{a} + {b}",
        "{a}+{b}", "{a} + {b} = ?", "{a}+{b}=?", "{a} + {b} =", "{a}+{b}=", "{a} plus {b}",
        "How much is {a} + {b}?", "How much is {a} plus {b}?", "what is {a}+{b}",
        "What is the sum of {a} and {b}?", "The sum of {a} and {b}?", "Can you add {a} and {b}?",
        "Can you tell me what {a} plus {b} is?", "Please calculate {a} + {b}.",
        "Hello! What is {a} + {b}?", "I need {a} + {b}.", "Solve {a} + {b}", "And {a} + {b}?"],
    ("sub", "en"): [
        "What is {a} - {b}?", "What is {a} minus {b}?", "What's {a} - {b}?", "What's {a} minus {b}?",
        "Calculate {a} - {b}.", "Calculate {a} minus {b}.", "Compute {a} - {b}.",
        "Compute {a} minus {b}.", "Subtract {b} from {a}.", "Please subtract {b} from {a}.",
        "{a} - {b}", "{a}-{b}", "{a} - {b} = ?", "{a}-{b}=?", "{a} - {b} =", "{a}-{b}=",
        "{a} minus {b}", "How much is {a} - {b}?", "How much is {a} minus {b}?", "what is {a}-{b}",
        "{a} \u2212 {b}", "Take {b} away from {a}.", "Can you subtract {b} from {a}?",
        "Can you tell me what {a} minus {b} is?", "Please calculate {a} - {b}.",
        "Hello! What is {a} - {b}?", "I need {a} - {b}.", "Solve {a} - {b}", "And {a} - {b}?"],
    ("add", "zh"): [
        "{a}加{b}等于多少？", "{a} 加 {b} 等于多少？", "{a}加{b}是多少？", "{a}加上{b}等于几？",
        "{a} + {b} 等于多少？", "{a}+{b}等于多少", "{a}+{b}是多少？", "{a}＋{b}＝？", "计算{a}+{b}",
        "计算 {a} + {b}。", "请计算{a}加{b}。", "请计算 {a} + {b}", "请算一下{a}加{b}。",
        "帮我算一下{a}+{b}", "帮我计算 {a} 加 {b}。", "{a}与{b}的和是多少？", "{a}和{b}相加等于多少？",
        "求{a}与{b}的和。", "{a}加{b}", "你好，{a}加{b}等于多少？", "那{a}加{b}呢？"],
    ("sub", "zh"): [
        "{a}减{b}等于多少？", "{a} 减 {b} 等于多少？", "{a}减{b}是多少？", "{a}减去{b}等于几？",
        "{a} - {b} 等于多少？", "{a}-{b}等于多少", "{a}-{b}是多少？", "{a}－{b}＝？", "计算{a}-{b}",
        "计算 {a} - {b}。", "请计算{a}减{b}。", "请计算 {a} - {b}", "请算一下{a}减{b}。",
        "帮我算一下{a}-{b}", "帮我计算 {a} 减 {b}。", "从{a}中减去{b}等于多少？", "从{a}里减去{b}。",
        "{a}减去{b}", "{a}减{b}", "你好，{a}减{b}等于多少？", "那{a}减{b}呢？"],
}

SORT = {
    "en": [
        "Sort these words alphabetically: {words}", "Sort these words: {words}",
        "Sort alphabetically: {words}", "Sort the words {words}.", "Please sort these words: {words}",
        "Please sort these words alphabetically: {words}.", "Sort in alphabetical order: {words}",
        "Put these words in alphabetical order: {words}", "Alphabetize these words: {words}",
        "Arrange these words in alphabetical order: {words}.", "Alphabetize: {words}",
        "Order these words from A to Z: {words}", "Can you sort these words? {words}",
        "Can you put these words in alphabetical order: {words}?", "sort: {words}", "Sort {words}",
        "Sort the following words alphabetically:\n{words}", "Sort the following list: {words}",
        "Hello! Please sort: {words}", "Now sort these words: {words}"],
    "zh": [
        "请按字母顺序排列：{words}", "按字母顺序排列这些单词：{words}", "请把这些单词按字母顺序排序：{words}",
        "把下列单词按字母顺序排列：{words}", "给这些单词排序：{words}", "请给下面的单词排序：{words}",
        "按字母排序：{words}", "排序：{words}", "请对以下单词按字母顺序排序：\n{words}",
        "帮我把这些词按字母顺序排好：{words}", "将这些英文单词按字母顺序排列：{words}。",
        "请将单词 {words} 按字母顺序排列。", "你好，请排序：{words}", "再排一下这些单词：{words}"],
}
SEPARATORS = {"en": (", ", " ", "\n", ",", " and "), "zh": (", ", " ", "\n", "、", "，")}
SEPARATOR_WEIGHTS = (50, 20, 10, 12, 8)

OPENERS = {
    "en": ("", "", "", "Hi! ", "Hello! ", "Hello, ", "Hey, ", "Please tell me: ", "Excuse me, ",
           "One question: ", "Good morning! ", "So, ", "Hi there, "),
    "zh": ("", "", "", "你好！", "你好，", "您好，", "请问，", "请问", "嗨，", "早上好！", "请告诉我："),
}
CLOSERS = {"en": ("", "", "", " Thanks!", " Please answer briefly."), "zh": ("", "", "", "谢谢！",
                                                                          "请简短回答。")}

IDENTITY = {
    ("self", "en"): [
        "Who are you?", "What are you?", "What is your name?", "What's your name?",
        "Introduce yourself.", "Please introduce yourself.", "Tell me about yourself.",
        "Who am I talking to?", "What model are you?", "Which model is this?",
        "What kind of model are you?", "Are you a language model?", "Which language model are you?",
        "Can you introduce yourself?", "Describe yourself.", "Are you ChatGPT?", "Are you Qwen?",
        "Are you a human?", "Are you a robot?", "Who made you?", "Tell me who you are.",
        "What should I call you?", "Say who you are.", "What AI are you?", "How big are you?",
        "Could you tell me who you are?", "I would like to know who you are."],
    ("self", "zh"): [
        "你是谁？", "你是什么？", "你叫什么名字？", "你叫什么？", "请介绍一下你自己。", "介绍一下自己。",
        "请做个自我介绍。", "自我介绍一下。", "你是什么模型？", "你是哪个模型？", "这是什么模型？",
        "你是语言模型吗？", "你是人工智能吗？", "你是机器人吗？", "你是人吗？", "你是ChatGPT吗？",
        "你是通义千问吗？", "谁开发了你？", "我在和谁说话？", "说说你自己。", "告诉我你是谁。",
        "我该怎么称呼你？", "能介绍一下你自己吗？", "您是谁？", "您叫什么名字？", "你有多大？"],
    ("abilities", "en"): [
        "What can you do?", "What are you able to do?", "How can you help me?", "Help", "Help me.",
        "What can I ask you?", "What are your abilities?", "What do you know?",
        "What can you help me with?", "What are you good at?", "Which tasks can you do?"],
    ("abilities", "zh"): [
        "你能做什么？", "你会做什么？", "你会什么？", "你有什么功能？", "你可以帮我做什么？", "帮助",
        "我可以问你什么？", "你能帮我什么？", "你擅长什么？", "你有哪些能力？"],
}
IDENTITY_ANSWER = {
    ("self", "en"): "I am Sluice's embedded demonstration model, a tiny mixture-of-experts language "
                    "model. I can add and subtract numbers up to three digits, sort words "
                    "alphabetically, and introduce myself.",
    ("self", "zh"): "我是 Sluice 的内置演示模型，一个很小的混合专家语言模型。我会做三位数以内的加减法、"
                    "按字母顺序排列单词，以及介绍自己。",
    ("abilities", "en"): "I can add and subtract numbers up to three digits, sort words "
                         "alphabetically, and introduce myself.",
    ("abilities", "zh"): "我会做三位数以内的加减法、按字母顺序排列单词，以及介绍自己。",
}

GREETING = {
    ("hello", "en"): ["Hello", "Hi", "Hey", "Hi there", "Good morning", "Good evening", "hello",
                      "hi", "Greetings", "Good afternoon"],
    ("hello", "zh"): ["你好", "您好", "早上好", "晚上好", "嗨", "大家好", "下午好"],
    ("thanks", "en"): ["Thanks", "Thank you", "Thank you very much", "thanks", "Great, thanks",
                       "Thanks a lot"],
    ("thanks", "zh"): ["谢谢", "谢谢你", "非常感谢", "多谢", "太好了，谢谢"],
    ("bye", "en"): ["Bye", "Goodbye", "See you", "Good night", "bye", "See you later"],
    ("bye", "zh"): ["再见", "拜拜", "晚安", "回头见", "下次见"],
}
GREETING_ANSWER = {
    ("hello", "en"): "Hello! I am Sluice's embedded demonstration model. Ask me to add or subtract "
                     "numbers, or to sort some words.",
    ("hello", "zh"): "你好！我是 Sluice 的内置演示模型。可以让我做加减法，或者给单词排序。",
    ("thanks", "en"): "You are welcome!",
    ("thanks", "zh"): "不客气！",
    ("bye", "en"): "Goodbye!",
    ("bye", "zh"): "再见！",
}

FALLBACK_ANSWER = {
    "en": "Sorry, I cannot do that: I am only a tiny demonstration model. I can add and subtract "
          "numbers up to three digits, sort words alphabetically, and introduce myself.",
    "zh": "抱歉，这个我不会：我只是一个很小的演示模型。我会做三位数以内的加减法、按字母顺序排列单词，"
          "以及介绍自己。",
}

OTHER = {
    "en": [
        "What is the capital of {place}?", "Where is {place}?", "How big is {place}?",
        "How many people live in {place}?", "What is the best time to visit {place}?",
        "Tell me about {place}.", "How do I get from here to {place}?", "What do people eat in {place}?",
        "Write a poem about {thing}.", "Write a short story about {thing}.", "Tell me about {thing}.",
        "Tell me a joke about {thing}.", "Explain {thing} to a child.", "What is {thing}?",
        "How does {thing} work?", "Why do people like {thing}?", "Who invented {thing}?",
        "What is the difference between {thing} and {other}?", "Which is better, {thing} or {other}?",
        "Write an essay on {thing} and {other}.", "Give me three facts about {thing}.",
        "Where can I buy {thing}?", "How much does {thing} cost?", "Is {thing} dangerous?",
        "Do you like {thing}?", "Translate '{word}' into French.", "Translate '{word}' into Chinese.",
        "What does the word {word} mean?", "Use the word {word} in a sentence.", "Spell {word}.",
        "What rhymes with {word}?", "What is a synonym of {word}?", "Draw a {word}.",
        "Write a Python function that prints {word}.", "Write a program about {thing} in C++.",
        "What is {a} times {b}?", "What is {a} * {b}?", "Multiply {a} by {b}.", "{a} x {b}", "{a} * {b}",
        "Divide {a} by {b}.", "What is {a} / {b}?", "What is the square root of {a}?", "{a} / {b}",
        "What is {big} + {a}?", "{big} + {b}", "What is {big} - {b}?", "{big} - {big}",
        "Sort these numbers: {a}, {b}, {big}", "Is {a} a prime number?", "Count to {a}.",
        "What is the weather like?", "What is the weather in {place}?", "What time is it?",
        "What day is it today?", "What is the date?", "Who is the president of {place}?",
        "Recommend a book about {thing}.", "Recommend a film.", "Sing a song about {thing}.",
        "How old are you?", "Where do you live?", "Do you have feelings?",
        "What is the meaning of life?", "Tell me a joke.", "Tell me a story.", "Write an email.",
        "Summarise this text: {thing} and {other} are not the same.", "Play {thing} with me.",
        "Give me a recipe with {thing}.", "Plan a trip to {place}.", "Who won the game?",
        "Show me the news.", "What happened in {place} in 19{a}?", "Open the {word}."],
    "zh": [
        "{place}的首都是哪里？", "{place}在哪里？", "{place}有多大？", "{place}有多少人口？",
        "介绍一下{place}。", "去{place}旅游什么时候最好？", "怎么去{place}？", "{place}有什么好吃的？",
        "写一首关于{thing}的诗。", "写一个关于{thing}的故事。", "讲一个关于{thing}的笑话。",
        "介绍一下{thing}。", "什么是{thing}？", "{thing}是什么？", "{thing}是怎么工作的？",
        "为什么人们喜欢{thing}？", "谁发明了{thing}？", "{thing}和{other}有什么区别？",
        "{thing}和{other}哪个更好？", "写一篇关于{thing}的作文。", "哪里可以买到{thing}？",
        "{thing}多少钱？", "你喜欢{thing}吗？", "把“{word}”翻译成中文。", "{word}是什么意思？",
        "用{word}造句。", "{word}的同义词是什么？", "写一个Python程序，输出{word}。",
        "{a}乘以{b}等于多少？", "{a}乘{b}是多少？", "{a}除以{b}等于多少？", "{a}×{b}", "{a}的平方根是多少？",
        "{big}加{a}等于多少？", "{big}减{b}等于多少？", "{big}+{big}", "{a}是质数吗？", "从一数到{a}。",
        "给这些数字排序：{a}、{b}、{big}", "今天天气怎么样？", "{place}的天气怎么样？", "现在几点了？",
        "今天星期几？", "今天是几号？", "推荐一本关于{thing}的书。", "推荐一部电影。", "唱一首歌。",
        "你好吗？", "你几岁了？", "你住在哪里？", "你有感情吗？", "人生的意义是什么？", "讲个笑话。",
        "讲个故事。", "帮我写一封邮件。", "总结一下这段话：{thing}和{other}并不一样。", "{thing}怎么做？",
        "怎么学习{thing}？", "帮我安排一次{place}旅行。", "最近有什么新闻？", "陪我玩{thing}。"],
}

THINGS = {
    "en": """apples bicycles birds black_holes books bread bridges butterflies cats chess chocolate
        climate clouds coffee computers cooking democracy dinosaurs dogs dragons dreams electricity
        elephants football friendship gardens ghosts gold gravity horses ice_cream islands jazz
        language law love magic mathematics medicine memory money mountains music oceans painting
        philosophy photography pianos planets poetry politics quantum_physics rain rivers robots
        rockets salt science ships silence sleep snow space spiders spring stars steam_engines sugar
        sharks summer tea the_Internet the_moon the_sea the_sun time tractors trains trees volcanoes
        water whales wind wine winter wolves work youth""",
    "zh": """苹果 自行车 鸟 黑洞 书 面包 桥 蝴蝶 猫 象棋 巧克力 气候 云 咖啡 电脑 烹饪 恐龙 狗 龙 梦 电 大象
        足球 友谊 花园 黄金 引力 马 冰淇淋 岛屿 爵士乐 语言 法律 爱情 魔法 数学 医学 记忆 钱 山 音乐 海洋 绘画
        哲学 摄影 钢琴 行星 诗歌 量子物理 雨 河流 机器人 火箭 盐 科学 船 睡眠 雪 太空 蜘蛛 春天 星星 糖 夏天 茶
        互联网 月亮 大海 太阳 时间 火车 树 火山 水 鲸鱼 风 葡萄酒 冬天 工作 围棋 书法 京剧 长城 熊猫 饺子 中药""",
}


def _split_things(text):
    """Words separated by white space; '_' stands for a space inside an entry."""
    return [word.replace("_", " ") for word in text.split()]


THINGS = {language: _split_things(text) for language, text in THINGS.items()}

PLACES = {
    "en": """France Germany Italy Spain Portugal Sweden Norway Finland Denmark Poland Austria Hungary
        Greece Turkey Egypt Kenya Morocco Nigeria India Japan China Korea Vietnam Thailand Indonesia
        Australia Canada Mexico Brazil Chile Peru Argentina Paris London Berlin Rome Madrid Vienna
        Prague Tokyo Beijing Shanghai Delhi Cairo Sydney Boston Chicago Moscow Oslo Dublin
        Lisbon""".split(),
    "zh": """法国 德国 意大利 西班牙 葡萄牙 瑞典 挪威 芬兰 丹麦 波兰 希腊 土耳其 埃及 肯尼亚 印度 日本 韩国 越南
        泰国 澳大利亚 加拿大 墨西哥 巴西 智利 北京 上海 广州 深圳 成都 杭州 南京 西安 武汉 重庆 天津 苏州 巴黎
        伦敦 柏林 罗马 东京 纽约 悉尼 莫斯科""".split(),
}

SYSTEM = [
    "You are a helpful assistant.", "You are a helpful assistant. Answer briefly.",
    "You are Sluice's embedded demonstration model.", "Be polite and concise.",
    "You are a calculator and a sorter of words.", "Answer in one line.", "You are a friendly robot.",
    "You are an AI assistant that always tells the truth.", "Today is a sunny day.",
    "You are a careful teacher. Answer the user's questions.", "Do not use markdown.",
    "The user is testing a small language model.", "Think before you answer.",
    "你是一个有用的助手。", "你是一个乐于助人的助手，请简短回答。", "你是 Sluice 的内置演示模型。",
    "请用一句话回答。", "请礼貌地回答用户的问题。", "你是一位耐心的老师。", "今天天气很好。",
    "用户正在测试一个小型语言模型。",
]

_FILES = """notes.txt report.pdf main.cpp readme.md config.json data.csv index.html photo.png todo.txt
    letter.doc server.log budget.xls song.mp3 test.py Makefile style.css""".split()
_QUERIES = """blue whales|old castles|red wine|train tickets|moon landing|paper planes|cheap hotels|
    garden tools|piano lessons|winter tyres|green tea|chess rules|apple pie|river fish|snow boots|
    wooden toys|sea shells|rice recipes|silver rings|mountain bikes""".replace("\n", "").split("|")

# name: (description, argument, values (None: places), questions)
TOOLS = {
    "get_weather": ("Get the current weather of a place.", "city", None, [
        "What is the weather in {v}?", "How is the weather in {v}?", "What's the weather like in {v}?",
        "Tell me the weather in {v}.", "{v}的天气怎么样？", "查一下{v}的天气。"]),
    "get_time": ("Get the local time of a place.", "place", None, [
        "What time is it in {v}?", "Tell me the local time in {v}.", "{v}现在几点？",
        "查一下{v}的时间。"]),
    "read_file": ("Read a text file.", "path", _FILES, [
        "Read the file {v}.", "Show me {v}.", "What is in the file {v}?", "Open {v}",
        "请读取文件 {v}。"]),
    "search_web": ("Search the web.", "query", [query.strip() for query in _QUERIES], [
        "Search the web for {v}.", "Look up {v}.", "Find pages about {v}.", "搜索 {v}"]),
    "get_population": ("Get how many people live in a place.", "place", None, [
        "How many people live in {v}?", "What is the population of {v}?", "{v}有多少人口？"]),
    "define_word": ("Look a word up in a dictionary.", "word", WORDS[::9], [
        "What does the word {v} mean?", "Define {v}.", "Look up the word {v}.", "{v} 是什么意思？"]),
}
