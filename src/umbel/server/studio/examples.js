// Texts to try: both languages, an emoji before a name, several kinds of entities.

export const EXAMPLES = [
  "Thank you so much, Maria! 🎉 I never thought the Lisbon office would sort this out in a day.",
  "我上周买的耳机左边没有声音，客服一直不回复，请尽快给我退款！",
  "What time does the next train from Boston to New York leave tomorrow morning?",
  "帮我找一家故宫附近评分4.5以上、人均100元左右的酒店🏨，明天入住。",
];
